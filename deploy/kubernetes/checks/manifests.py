"""A rendered overlay, and what its parts have to do with one another."""

import yaml

WORKLOADS = ("Deployment", "StatefulSet", "Job")


class Manifests:
    def __init__(self, objects):
        self.objects = [obj for obj in objects if obj]

    @classmethod
    def read(cls, path):
        with open(path, encoding="utf-8") as file:
            return cls(yaml.safe_load_all(file))

    def of(self, *kinds):
        return [obj for obj in self.objects if obj["kind"] in kinds]

    def get(self, kind, name):
        return next((obj for obj in self.of(kind) if name_of(obj) == name), None)

    def workloads(self):
        return self.of(*WORKLOADS)

    def selected(self, selector):
        """The workloads whose pods a label selector selects."""
        return [obj for obj in self.workloads() if selects(selector, labels_of(obj))]

    def environment(self, container):
        """What a container's variables are: those of its ConfigMaps, and its own over them."""
        found = {}
        for source in container.get("envFrom", []):
            config = self.get("ConfigMap", source.get("configMapRef", {}).get("name"))
            found.update(config["data"] if config else {})
        found.update({env["name"]: env.get("value", "") for env in container.get("env", [])})
        return found


def name_of(obj):
    return obj["metadata"]["name"]


def told(obj):
    return f"{obj['kind']} {name_of(obj)}"


def pod_of(workload):
    return workload["spec"]["template"]["spec"]


def labels_of(workload):
    return workload["spec"]["template"]["metadata"].get("labels", {})


def containers_of(workload):
    pod = pod_of(workload)
    return pod.get("initContainers", []) + pod["containers"]


def service_of(container):
    """Which of ours runs in it, if any does."""
    image = container["image"].split("@")[0].rsplit("/", 1)[-1].split(":")[0]
    return image if image in ("gateway", "auth-verifier", "task-service") else None


def serves(container):
    """Whether it runs a service, and not a job that ends by itself."""
    return service_of(container) is not None and not container.get("args")


def ports_of(workload):
    """The ports of a pod, by number and by name."""
    found = {}
    for container in containers_of(workload):
        for port in container.get("ports", []):
            found[port["containerPort"]] = found[port.get("name")] = port["containerPort"]
    return found


def selects(selector, labels):
    def holds(expression):
        value, values = labels.get(expression["key"]), expression.get("values", [])
        match expression["operator"]:
            case "In":
                return value in values
            case "NotIn":
                return value not in values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None

    plain = selector.get("matchLabels", {}).items()
    return all(labels.get(key) == value for key, value in plain) and all(
        holds(expression) for expression in selector.get("matchExpressions", [])
    )
