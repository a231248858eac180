"""Holds README.md to the rendered overlays: documented.py RENDERED.yaml… What it names is there, what an operator must
make or may meet is named, and the overlay that it prints renders."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from check import faults_of
from manifests import Manifests, containers_of, name_of, pod_of
from schemas import faults_of as invalid

KUBERNETES = Path(__file__).resolve().parents[1]
README = (KUBERNETES / "README.md").read_text()


def secrets_of(overlay):
    """Each key of a Secret that a container has a file of."""
    for workload in overlay.workloads():
        volumes = {volume["name"]: volume.get("secret") for volume in pod_of(workload).get("volumes", [])}
        for container in containers_of(workload):
            for mount in container.get("volumeMounts", []):
                if secret := volumes.get(mount["name"]):
                    for value in overlay.environment(container).values():
                        if str(Path(value).parent) == mount["mountPath"]:
                            yield secret["secretName"], Path(value).name


def undocumented(overlays):
    made = re.findall(r"create secret generic ([\w-]+)((?:.|\\\n)*?)(?<!\\)\n", README)
    made = {(name, key) for name, rest in made for key in re.findall(r"--from-(?:literal|file)=([\w-]+)=", rest)}
    for path, overlay in overlays.items():
        for secret, key in sorted(set(secrets_of(overlay)) - made):
            yield f"{path}: README.md makes no Secret {secret} with the key {key}"
        for policy in overlay.of("NetworkPolicy"):
            if f"`{name_of(policy)}`" not in README:
                yield f"{path}: README.md doesn't say what the NetworkPolicy {name_of(policy)} allows"
    for kind in ("overlays", "components"):
        for folder in (KUBERNETES / kind).iterdir():
            if f"`{kind}/{folder.name}`" not in README:
                yield f"README.md doesn't list {kind}/{folder.name}"
    for named in set(re.findall(r"`((?:overlays|components|checks)/[\w./-]+)`", README)):
        if not (KUBERNETES / named).exists() and not named.startswith("overlays/production"):
            yield f"README.md names {named}, which there is not"


def examples():
    """The overlay that README.md prints, rendered; then with the policy of a Better Auth inside of the cluster."""
    (text,) = re.findall(r"```yaml\n(apiVersion: kustomize.*?)```", README, re.DOTALL)
    folder = KUBERNETES.parents[1] / "target/kubernetes/overlays/readme"
    folder.mkdir(parents=True, exist_ok=True)
    # As if it stood in overlays/production.
    away = os.path.relpath(KUBERNETES, folder)
    text = text.replace("- ../../components/", f"- {away}/components/").replace("- ../neon", f"- {away}/overlays/neon")
    yield render(folder, text)
    # And with the policy that it prints, added as it says: the last line there is of `patches`.
    (policy,) = re.findall(r"```yaml\n(apiVersion: networking.*?)```", README, re.DOTALL)
    (line,) = re.findall(r"`(- path: better-auth\.yaml)`", README)
    (folder / "better-auth.yaml").write_text(policy)
    patched = render(folder, f"{text.rstrip()}\n  {line}\n")
    policy = yaml.safe_load(policy)
    if patched.get("NetworkPolicy", name_of(policy))["spec"] != policy["spec"]:
        sys.exit(f"README.md: its NetworkPolicy {name_of(policy)} doesn't take the other's place")
    yield patched


def render(folder, text):
    (folder / "kustomization.yaml").write_text(text)
    rendered = folder / "rendered.yaml"
    with rendered.open("w") as file:
        subprocess.run([os.environ.get("KUBECTL", "kubectl"), "kustomize", folder], check=True, stdout=file)
    return Manifests.read(rendered)


def main(paths):
    overlays = {path: Manifests.read(path) for path in paths}
    faults = list(undocumented(overlays))
    for printed in examples():
        faults += [f"the overlay of README.md: {fault}" for fault in faults_of(printed)]
        faults += [f"the overlay of README.md: {fault}" for obj in printed.objects for fault in invalid(obj)]
    print("\n".join(faults) or "README.md says what there is")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
