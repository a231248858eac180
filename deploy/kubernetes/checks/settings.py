"""Feeds the settings of rendered overlays to the services: settings.py USHER RENDERED.yaml…

Each container's variables, and no others, go to `USHER SERVICE --check --show`, as its user and group. Its Secrets are
made up, with the owner and the mode that Kubernetes gives their files. Each variable must then be in force."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import facts
from manifests import Manifests, containers_of, name_of, pod_of, service_of

# By the file's name in its Secret.
SECRETS = {
    "better-auth-secret": "f8Q2vT0mZ1xK7rY4wB6nC9pL3sD5hJ2g",
    "database-url": "postgresql://tasks:{password}@{host}/tasks?sslmode={tls}",
}


def in_place(folder, pod, container, overlay):
    """The Secrets of a container as files below `folder`, and its variables with those paths."""
    local = overlay.get("StatefulSet", "postgres") is not None
    url = {"password": "pa55", "host": "postgres:5432" if local else "ep-a1-pooler.eu.aws.neon.tech"}
    url["tls"] = "disable" if local else "require"
    found = overlay.environment(container)
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        secret = volumes[mount["name"]].get("secret")
        if not secret:
            continue
        for name, value in found.items():
            if Path(value).parent == Path(mount["mountPath"]):
                file = folder / value.lstrip("/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(SECRETS[file.name].format(**url))
                # Kubernetes writes them as root, and gives them to the pod's group.
                os.chown(file, 0, pod["securityContext"]["fsGroup"])
                file.chmod(secret["defaultMode"])
                found[name] = str(file)
    return found


def faults_of(usher, overlay, folder):
    for workload in overlay.workloads():
        pod = pod_of(workload)
        for container in containers_of(workload):
            service = service_of(container)
            if not service:
                continue
            variables = in_place(folder / name_of(workload), pod, container, overlay)
            # Over what the image sets (deploy/Dockerfile).
            traffic, ops = facts.ports(service)
            prefix = facts.prefix(service)
            image = {"PORT": str(traffic), f"{prefix}OPS_LISTEN": f"0.0.0.0:{ops}"}
            done = subprocess.run(
                [usher, service, "--check", "--show"],
                cwd=folder,
                env=image | variables,
                user=pod["securityContext"]["runAsUser"],
                group=pod["securityContext"]["runAsGroup"],
                extra_groups=[pod["securityContext"]["fsGroup"]],
                capture_output=True,
                text=True,
                timeout=60,
            )
            place = f"{workload['kind']} {name_of(workload)}"
            said = done.stdout + done.stderr
            if done.returncode != 0 or "the settings are good" not in said:
                yield f"{place}: {said.strip()}"
            for line in said.splitlines():
                if line.startswith(f"{service}: ") and not line.endswith("the settings are good"):
                    yield f"{place}: {line}"
            in_force = {line.split("=", 1)[0]: line for line in done.stdout.splitlines() if "  # " in line}
            for name, value in variables.items():
                line = in_force.get(name.removesuffix("_FILE"), "")
                begins = f"{name.removesuffix('_FILE')}=***  # " if name.endswith("_FILE") else f"{name}={value}  # "
                if not line.startswith(begins) or "environment" not in line:
                    yield f"{place}: {name}={value} is not in force: {line or 'nothing is'}"


def main(usher, paths):
    if os.geteuid() != 0:
        sys.exit("settings.py runs as root: it gives files to the user of the pods, and becomes that user")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # Where that user can reach it, whatever folder the build is in.
        folder.chmod(0o755)
        program = folder / "usher"
        shutil.copy(usher, program)
        faults = []
        for number, path in enumerate(paths):
            place = folder / str(number)
            place.mkdir()
            faults += [f"{path}: {fault}" for fault in faults_of(program, Manifests.read(path), place)]
    print("\n".join(faults) or f"the services accept the settings of {len(paths)} overlays")
    return 1 if faults or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
