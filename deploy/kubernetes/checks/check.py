"""Holds rendered overlays to the rules: check.py RENDERED.yaml… Exits with 1 if any is broken, saying where."""

import sys

from manifests import Manifests, containers_of, service_of
from rules import RULES


def faults_of(manifests):
    return [f"{fault}  [{rule.__name__}]" for rule in RULES for fault in rule(manifests)]


def sidecars_that_differ(overlays):
    """The sidecar is the container that auth-verifier has in a pod of its own, but for what makes it a sidecar."""
    own, beside = [], []
    for manifests in overlays:
        for workload in manifests.workloads():
            for container in containers_of(workload):
                if service_of(container) == "auth-verifier":
                    # The ConfigMap is another, with a hash in its name; images have a rule of their own.
                    plain = {
                        key: value
                        for key, value in container.items()
                        if key not in ("restartPolicy", "envFrom", "image")
                    }
                    (beside if "restartPolicy" in container else own).append(plain)
    differ = any(one != other for one in own for other in beside)
    return ["the sidecar differs from auth-verifier in a pod of its own"] if differ else []


def main(paths):
    overlays = {path: Manifests.read(path) for path in paths}
    faults = [f"{path}: {fault}" for path, manifests in overlays.items() for fault in faults_of(manifests)]
    faults += sidecars_that_differ(overlays.values())
    print("\n".join(faults) or f"{len(overlays)} overlays keep {len(RULES)} rules")
    return 1 if faults or not overlays else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
