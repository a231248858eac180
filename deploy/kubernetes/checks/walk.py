"""Runs the services of a rendered overlay as its pods would, on this machine: walk.py USHER RENDERED.yaml

A request walks from the gateway to PostgreSQL and back, and the pods are told to stop. Names, settings, files of
Secrets, users, probes, and the times that an end takes are those of the manifests; nodes and NetworkPolicies are not
there. It runs in namespaces of its own, where nothing it does is seen outside and everything ends with it:

unshare --mount --net --pid --fork --kill-child --mount-proc python3 walk.py …"""

import http.client
import json
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import facts
from manifests import Manifests, containers_of, name_of, pod_of, service_of

# How long everything may take to get ready, and how long one request.
READY_SECS = 60
REQUEST_SECS = 10

POSTGRES = "/run/postgres"


def make_world(usher, overlay):
    """Loopback, a /run of our own, and names that lead to loopback."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "walk", "/run"], check=True)
    names = ["localhost", *map(name_of, overlay.of("Service"))]
    Path("/run/hosts").write_text("".join(f"127.0.0.1 {name}\n" for name in names))
    subprocess.run(["mount", "--bind", "/run/hosts", "/etc/hosts"], check=True)
    shutil.copy(usher, "/run/usher")
    Path("/run/empty").mkdir()


def make_secrets():
    """As README.md has them made, with the owners and modes that pods see."""
    password = secrets.token_hex(16)
    made = {
        "auth-verifier/better-auth-secret": (secrets.token_urlsafe(32), facts.USER),
        "task-service/database-url": (f"postgresql://tasks:{password}@postgres:5432/tasks?sslmode=disable", facts.USER),
        "postgres/password": (secrets.token_hex(16), pwd.getpwnam("nobody").pw_gid),
        "postgres/tasks-password": (password, pwd.getpwnam("nobody").pw_gid),
    }
    for path, (value, group) in made.items():
        file = Path("/run/secrets") / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value)
        os.chown(file, 0, group)
        file.chmod(0o440)


def start_postgres(programs, overlay):
    """PostgreSQL as the image makes it: the superuser's password, then the script of the ConfigMap."""
    nobody = pwd.getpwnam("nobody")
    own = {"user": "nobody", "group": nobody.pw_gid, "extra_groups": [], "cwd": "/"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    Path(POSTGRES).mkdir()
    os.chown(POSTGRES, nobody.pw_uid, nobody.pw_gid)
    data, password = f"{POSTGRES}/data", "/run/secrets/postgres/password"
    initdb = [programs / "initdb", f"--pgdata={data}", "--username=postgres", f"--pwfile={password}"]
    subprocess.run(
        [*initdb, "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"], check=True, **own, **quiet
    )
    server = [programs / "postgres", "-D", data, "-c", f"unix_socket_directories={POSTGRES}"]
    subprocess.Popen([*server, "-c", "listen_addresses=127.0.0.1"], **own, **quiet)
    wait_for(
        "PostgreSQL", lambda: subprocess.run([programs / "pg_isready", "--host=127.0.0.1"], **quiet).returncode == 0
    )
    (config,) = (obj for obj in overlay.of("ConfigMap") if name_of(obj).startswith("postgres-roles-"))
    environment = {"PGHOST": POSTGRES, "PATH": f"{programs}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", config["data"]["roles.sh"]], check=True, env=environment, **own, **quiet)


def start(overlay):
    """Every service as a process, with its variables and no others; and its pod."""
    running = {}
    for workload in overlay.workloads():
        security = pod_of(workload)["securityContext"]
        for container in containers_of(workload):
            if not (service := service_of(container)):
                continue
            traffic, ops = facts.ports(service)
            prefix = facts.prefix(service)
            image = {f"{prefix}LISTEN": f"0.0.0.0:{traffic}", f"{prefix}OPS_LISTEN": f"0.0.0.0:{ops}"}
            how = {
                "env": image | overlay.environment(container),
                "user": security["runAsUser"],
                "group": security["runAsGroup"],
                "extra_groups": [security["fsGroup"]],
                "cwd": "/run/empty",
            }
            with open(f"/run/{service}.log", "w") as log:
                process = subprocess.Popen(
                    ["/run/usher", service, *container.get("args", [])], stdout=log, stderr=log, **how
                )
            running[service] = {"process": process, "workload": workload, "container": container, "how": how}
    return running


def ask(port, path, method="GET", body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_SECS)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return None, b""
    finally:
        connection.close()


def probe(container, kind):
    """The status that a probe of the manifests hears."""
    asked = container[kind]["httpGet"]
    (port,) = (port["containerPort"] for port in container["ports"] if port["name"] == asked["port"])
    return ask(port, asked["path"])[0]


def wait_for(what, holds):
    deadline = time.monotonic() + READY_SECS
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not ready after {READY_SECS} s")
        time.sleep(0.1)


def walk(running):
    """A task is made, and found again; nobody gets one without a token, nor the operator's pages."""
    how = running["auth-verifier"]["how"]
    minted = subprocess.run(
        ["/run/usher", "auth-verifier", "token", "--sub", "ada"], check=True, capture_output=True, **how
    )
    token = {"authorization": f"Bearer {minted.stdout.decode().strip()}"}
    status, made = ask(
        8000, "/api/tasks", "POST", '{"title": "Buy milk"}', token | {"content-type": "application/json"}
    )
    assert status == 201, (status, made)
    status, found = ask(8000, "/api/tasks", headers=token)
    assert status == 200 and json.loads(found) == [json.loads(made)], (status, found)
    assert ask(8000, "/api/tasks")[0] == 401
    for path in ("/metrics", "/readyz", "/livez"):
        assert ask(8000, path)[0] == 404, path
    return token


def stop(running, token):
    """Told to stop, a pod is not ready and yet serves, as long as its address may be known; then it ends in the time it
    has."""
    began = time.monotonic()
    # A sidecar is told when the others have ended.
    sidecars = [one for one in running.values() if one["container"].get("restartPolicy") == "Always"]
    first = [one for one in running.values() if one not in sidecars]
    for one in first:
        one["process"].terminate()
    time.sleep(1)
    for one in first:
        assert probe(one["container"], "readinessProbe") == 503, one["container"]["name"]
    while time.monotonic() - began < 10:
        status, _ = ask(8000, "/api/tasks", headers=token)
        assert status == 200, f"{status} {time.monotonic() - began:.0f} s after the pods were told to stop"
        time.sleep(0.5)
    for group in (first, sidecars):
        for one in group:
            if group is sidecars:
                one["process"].terminate()
            left = began + pod_of(one["workload"])["terminationGracePeriodSeconds"] - time.monotonic()
            assert one["process"].wait(timeout=left) == 0, one["container"]["name"]
    return time.monotonic() - began


def main(usher, path):
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        sys.exit("PostgreSQL's server is not installed (postgresql)")
    overlay = Manifests.read(path)
    make_world(usher, overlay)
    make_secrets()
    start_postgres(found[-1].parent, overlay)
    running = start(overlay)
    try:
        for service, one in running.items():
            wait_for(service, lambda container=one["container"]: probe(container, "readinessProbe") == 200)
            assert probe(one["container"], "livenessProbe") == 200, service
        took = stop(running, walk(running))
    except BaseException:
        for service in running:
            print(f"--- {service}\n{Path(f'/run/{service}.log').read_text()}")
        raise
    print(f"{path}: a request walked through, and its services ended {took:.0f} s after they were told to")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
