"""What must hold in every overlay. A rule is a function of the rendered manifests that yields a sentence for each
fault; its docstring is the rule."""

import re
from urllib.parse import urlsplit

import facts
from manifests import (
    containers_of,
    labels_of,
    name_of,
    pod_of,
    ports_of,
    selects,
    service_of,
    serves,
    told,
)

RULES = []


def rule(function):
    RULES.append(function)
    return function


def each_container(manifests):
    for workload in manifests.workloads():
        for container in containers_of(workload):
            yield workload, container, f"{told(workload)}, container {container['name']}"


# ── What runs ──────────────────────────────────────────────────────────────────────────────────────────────────────


@rule
def images_are_immutable(manifests):
    """Every image has a digest, or a tag that is never pushed again, of this version where we built it (localhost/); and
    none is pulled by a name that anybody may take on Docker Hub."""
    for _, container, place in each_container(manifests):
        registry = container["image"].rpartition("/")[0]
        if registry and not re.match(r"localhost(/|$)|[^/]*[.:]", registry):
            yield f"{place}: the image {container['image']} names no registry, so it is Docker Hub's"
        if re.search(r"@sha256:[0-9a-f]{64}$", container["image"]):
            continue
        tag = re.search(r"^[^@]*:([^/:@]+)$", container["image"])
        if not tag or tag[1] in ("latest", "main", "edge", "nightly"):
            yield f"{place}: the image {container['image']} has no tag that is pushed only once"
        elif container["image"].startswith("localhost/") and service_of(container) and tag[1] != facts.version():
            yield f"{place}: the image {container['image']} is not of version {facts.version()} (Cargo.toml)"


@rule
def resources_are_bounded(manifests):
    """Every container has requests and limits of CPU and memory."""
    for _, container, place in each_container(manifests):
        for kind in ("requests", "limits"):
            for resource in ("cpu", "memory"):
                if resource not in container.get("resources", {}).get(kind, {}):
                    yield f"{place}: has no {kind}.{resource}"


@rule
def pods_are_restricted(manifests):
    """Pods meet the restricted Pod Security Standard, write to no root file system, and hold no token of the API
    server."""
    for workload in manifests.workloads():
        pod, place = pod_of(workload), told(workload)
        security = pod.get("securityContext", {})
        wrong = []
        if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
            wrong.append("runs as root, or may")
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            wrong.append("has no seccompProfile RuntimeDefault")
        if pod.get("automountServiceAccountToken") is not False:
            wrong.append("is given a token of the API server")
        if not manifests.get("ServiceAccount", pod.get("serviceAccountName")):
            wrong.append(f"has no ServiceAccount of its own ({pod.get('serviceAccountName')})")
        if pod.get("enableServiceLinks") is not False:
            wrong.append("is given variables about Services, which look like settings")
        wrong += [f"has {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
        allowed = {"name", "configMap", "secret", "emptyDir", "projected", "persistentVolumeClaim"}
        for volume in pod.get("volumes", []):
            if not volume.keys() <= allowed:
                wrong.append(f"has the volume {volume['name']}, of a kind that the restricted standard forbids")
        for container in containers_of(workload):
            own, name = container.get("securityContext", {}), container["name"]
            if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
                wrong.append(f"lets {name} gain privileges")
            if own.get("capabilities") != {"drop": ["ALL"]}:
                wrong.append(f"leaves {name} capabilities")
            if own.get("readOnlyRootFilesystem") is not True:
                wrong.append(f"lets {name} write to its root file system")
            if own.keys() & {"runAsUser", "runAsNonRoot", "seccompProfile"}:
                wrong.append(f"has another user or seccomp profile for {name}")
            if any("hostPort" in port for port in container.get("ports", [])):
                wrong.append(f"gives {name} a port of the node")
            if service_of(container) and security.get("runAsUser") != facts.USER:
                wrong.append(f"runs {name} as another user than {facts.USER}, the image's")
        yield from (f"{place}: {what}" for what in wrong)
    for namespace in manifests.of("Namespace"):
        if namespace["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{told(namespace)}: does not enforce the restricted Pod Security Standard"


# ── Settings and secrets ───────────────────────────────────────────────────────────────────────────────────────────

SECRET_NAME = re.compile(r"SECRET|PASSWORD|TOKEN$|SEED$|DATABASE_+URL$|PRIVATE_KEY|CREDENTIAL")
SECRET_VALUE = re.compile(r"://[^/@\s]*:[^/@\s]+@|-----BEGIN|\beyJ[\w-]{10,}\.")


@rule
def variables_are_settings(manifests):
    """Every variable of a service stands in .env.example, and is that service's."""
    for _, container, place in each_container(manifests):
        if service := service_of(container):
            for name in manifests.environment(container):
                base = name.removesuffix("_FILE") if SECRET_NAME.search(name.removesuffix("_FILE")) else name
                if base not in facts.variables_of(service):
                    yield f"{place}: {name} is no variable of {service} in .env.example"


@rule
def secrets_are_files_of_secrets(manifests):
    """No secret stands in a ConfigMap, a variable or an argument: a variable NAME_FILE names a file of a mounted
    Secret, which the pod's group may read, and nobody else."""
    for config in manifests.of("ConfigMap"):
        for key, value in config.get("data", {}).items():
            if SECRET_NAME.search(key.upper()) or SECRET_VALUE.search(value):
                yield f"{told(config)}: {key} looks like a secret"
    for obj in manifests.of("Secret"):
        yield f"{told(obj)}: a Secret with its value stands in the manifests"
    for workload, container, place in each_container(manifests):
        mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
        volumes = {volume["name"]: volume for volume in pod_of(workload).get("volumes", [])}
        for word in container.get("args", []) + container.get("command", []):
            if SECRET_VALUE.search(word):
                yield f"{place}: an argument looks like a secret"
        if any("secretRef" in source for source in container.get("envFrom", [])):
            yield f"{place}: a Secret becomes variables; mount it as a file"
        for env in container.get("env", []):
            name, value = env["name"], env.get("value", "")
            if "secretKeyRef" in env.get("valueFrom", {}):
                yield f"{place}: {name} has its value from a Secret; mount it as a file"
            elif name.endswith("_FILE") and SECRET_NAME.search(name.removesuffix("_FILE")):
                volume = volumes.get(mounts.get(value.rsplit("/", 1)[0]), {})
                if "secret" not in volume:
                    yield f"{place}: {name}={value} is no file of a mounted Secret"
                    continue
                mode, group = volume["secret"].get("defaultMode", 0o644), "fsGroup"
                security = pod_of(workload).get("securityContext", {})
                if mode != 0o440 or security.get(group) != security.get("runAsGroup"):
                    yield f"{place}: {name}: mode {mode:04o} of its Secret; want 0440, and fsGroup equal to runAsGroup"
            elif SECRET_NAME.search(name) or SECRET_VALUE.search(value):
                yield f"{place}: {name} looks like a secret"


@rule
def config_maps_roll_pods(manifests):
    """A ConfigMap that pods refer to is there and has a name with a hash, so that a change replaces them; a Job, which
    can't be changed, refers to none."""
    for workload in manifests.workloads():
        pod = pod_of(workload)
        sources = [source for c in containers_of(workload) for source in c.get("envFrom", [])]
        names = [source["configMapRef"]["name"] for source in sources if "configMapRef" in source]
        names += [volume["configMap"]["name"] for volume in pod.get("volumes", []) if "configMap" in volume]
        for name in names:
            if workload["kind"] == "Job":
                yield f"{told(workload)}: refers to the ConfigMap {name}; a change of it could not be applied"
            elif not manifests.get("ConfigMap", name):
                yield f"{told(workload)}: there is no ConfigMap {name}"
            elif not re.search(r"-[a-z0-9]{10}$", name):
                yield f"{told(workload)}: the ConfigMap {name} has no hash in its name"


# ── Ports, probes, ends ────────────────────────────────────────────────────────────────────────────────────────────


@rule
def ports_are_the_binaries(manifests):
    """A container has the ports that its service listens on by default, by names that are unique in the pod."""
    for workload in manifests.workloads():
        names = [port.get("name") for c in containers_of(workload) for port in c.get("ports", [])]
        if len(names) != len(set(names)):
            yield f"{told(workload)}: two ports have one name: {names}"
    for _, container, place in each_container(manifests):
        if not serves(container):
            continue
        service = service_of(container)
        want = facts.ports(service)
        have = tuple(port["containerPort"] for port in container.get("ports", []))
        if have != want:
            yield f"{place}: has the ports {have}; {service} listens on {want}"
        for key, port in zip(("LISTEN", "OPS_LISTEN"), want):
            listen = manifests.environment(container).get(facts.prefix(service) + key)
            if listen and not listen.endswith(f":{port}"):
                yield f"{place}: {facts.prefix(service)}{key}={listen}; the manifests say {port}"


@rule
def probes_ask_the_operations_port(manifests):
    """A service is probed on its operations port: /livez for whether it lives, /readyz for whether it gets requests."""
    paths = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    for workload, container, place in each_container(manifests):
        if not serves(container):
            continue
        ops = facts.ports(service_of(container))[1]
        for probe, path in paths.items():
            asked = container.get(probe, {}).get("httpGet", {})
            if asked.get("path") != path or ports_of(workload).get(asked.get("port")) != ops:
                yield f"{place}: {probe} asks {asked.get('path')} of port {asked.get('port')}; want {path} of {ops}"


@rule
def pods_have_time_to_drain(manifests):
    """terminationGracePeriodSeconds is more than the service's delay, drain and end; with a sidecar, which ends
    afterwards, more than both's."""
    for workload in manifests.workloads():
        need = 0
        for container in filter(serves, containers_of(workload)):
            prefix = facts.prefix(service_of(container)) + "SERVER__"
            known = facts.variables() | manifests.environment(container)
            need += int(known[prefix + "DRAIN_DELAY_SECS"]) + int(known[prefix + "DRAIN_SECS"]) + facts.END_SECS
        have = pod_of(workload).get("terminationGracePeriodSeconds", 30)
        if have <= need and need:
            yield f"{told(workload)}: terminationGracePeriodSeconds is {have}; its services may take {need} s to end"


@rule
def rollouts_take_nothing_away(manifests):
    """A Deployment has a new pod ready before an old one ends, keeps its pods apart where it can, and leaves the number
    of its replicas to its autoscaler."""
    for workload in manifests.of("Deployment"):
        spec, place = workload["spec"], told(workload)
        rolling = spec.get("strategy", {}).get("rollingUpdate", {})
        if rolling.get("maxUnavailable") != 0 or rolling.get("maxSurge") in (None, 0):
            yield f"{place}: wants maxUnavailable 0 and a maxSurge"
        if "replicas" in spec:
            yield f"{place}: has replicas; an apply would set back what scaled it"
        for spread in pod_of(workload).get("topologySpreadConstraints", [{}]):
            if not selects(spread.get("labelSelector", {"matchLabels": {"": "none"}}), labels_of(workload)):
                yield f"{place}: is not spread, or by the labels of other pods"
            elif spread["whenUnsatisfiable"] != "ScheduleAnyway":
                yield f"{place}: would not start on a cluster with one node or zone"


# ── Who means whom ─────────────────────────────────────────────────────────────────────────────────────────────────


@rule
def names_are_there(manifests):
    """What is named is there: pods by selectors, ports by Services, Services by routes, Deployments by autoscalers; and
    nothing stands twice."""
    seen = [told(obj) for obj in manifests.objects]
    yield from (f"{name}: stands twice" for name in sorted({name for name in seen if seen.count(name) > 1}))
    for obj in manifests.objects:
        if obj["kind"] != "Namespace" and obj["metadata"].get("namespace") != "usher":
            yield f"{told(obj)}: is in no namespace, or in another"
    for workload in manifests.of("Deployment", "StatefulSet"):
        if manifests.selected(workload["spec"]["selector"]) != [workload]:
            yield f"{told(workload)}: its selector selects other pods than its own"
    for service in manifests.of("Service"):
        selected = manifests.selected({"matchLabels": service["spec"]["selector"]})
        if len(selected) != 1:
            yield f"{told(service)}: selects {[told(obj) for obj in selected]}; want one workload"
        for port in service["spec"]["ports"]:
            number = {ports_of(workload).get(port.get("targetPort", port["port"])) for workload in selected}
            if number != {port["port"]}:
                yield f"{told(service)}: port {port['port']} leads to port {number} of its pods; want the same number"
        if name_of(service) != "gateway" and service["spec"].get("clusterIP") != "None":
            yield f"{told(service)}: is not headless, so one connection leads to one pod for as long as it is kept"
    for scaler in manifests.of("HorizontalPodAutoscaler"):
        spec = scaler["spec"]
        if not manifests.get(spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]):
            yield f"{told(scaler)}: there is no {spec['scaleTargetRef']['kind']} {spec['scaleTargetRef']['name']}"
        if any(metric.get("resource", {}).get("target", {}).get("type") != "AverageValue" for metric in spec["metrics"]):
            yield f"{told(scaler)}: scales by a share of what pods request, far below what one can do; want averageValue"
        if not 2 <= spec["minReplicas"] < spec["maxReplicas"]:
            yield f"{told(scaler)}: from {spec['minReplicas']} to {spec['maxReplicas']} replicas"
    for budget in manifests.of("PodDisruptionBudget"):
        if len(manifests.selected(budget["spec"]["selector"])) != 1:
            yield f"{told(budget)}: selects not one workload"
        if "minAvailable" in budget["spec"] or budget["spec"].get("maxUnavailable") == 0:
            yield f"{told(budget)}: may block the drain of a node for ever; want maxUnavailable"
    for place, name, port in backends(manifests):
        service = manifests.get("Service", name)
        known = {key for p in service["spec"]["ports"] for key in (p["port"], p["name"])} if service else set()
        if port not in known:
            yield f"{place}: leads to port {port} of the Service {name}, which there is not"
    for monitor in manifests.of("PodMonitor"):
        selected = manifests.selected(monitor["spec"]["selector"])
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if not any(endpoint["port"] in ports_of(workload) for workload in selected):
                yield f"{told(monitor)}: no pod that it selects has a port {endpoint['port']}"


def backends(manifests):
    for ingress in manifests.of("Ingress"):
        for entry in ingress["spec"]["rules"]:
            for path in entry["http"]["paths"]:
                service = path["backend"]["service"]
                yield told(ingress), service["name"], next(iter(service["port"].values()))
    for route in manifests.of("HTTPRoute"):
        for entry in route["spec"]["rules"]:
            for backend in entry["backendRefs"]:
                yield told(route), backend["name"], backend["port"]


# ── Who may reach whom ─────────────────────────────────────────────────────────────────────────────────────────────


@rule
def policies_are_complete(manifests):
    """Everything is denied first; a policy and each of its peers select something; its ports are there."""
    denied = [
        policy
        for policy in manifests.of("NetworkPolicy")
        if not policy["spec"]["podSelector"] and not policy["spec"].keys() & {"ingress", "egress"}
    ]
    if not any(set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"} for policy in denied):
        yield "no NetworkPolicy denies everything first"
    for policy in manifests.of("NetworkPolicy"):
        spec, place = policy["spec"], told(policy)
        if any(not manifests.selected(one) for one in each_value(spec["podSelector"])):
            yield f"{place}: selects no pod, or names one that there is not"
        for direction, key, peers in (("ingress", "Ingress", "from"), ("egress", "Egress", "to")):
            if direction in spec and key not in spec["policyTypes"]:
                yield f"{place}: has {direction}, which its policyTypes leave out"
            for entry in spec.get(direction, []):
                if not entry.get(peers) or not entry.get("ports"):
                    yield f"{place}: an {direction} rule without peers or ports allows them all"
                for peer in entry.get(peers, []):
                    yield from (f"{place}: {fault}" for fault in peer_faults(manifests, peer))
                    ends = spec["podSelector"] if direction == "ingress" else peer.get("podSelector")
                    if direction == "egress" and "namespaceSelector" in peer or ends is None:
                        continue
                    known = set().union(*(ports_of(pod) for pod in manifests.selected(ends)))
                    for port in {port["port"] for port in entry.get("ports", [])} - known:
                        yield f"{place}: no pod behind it has the port {port}"


def each_value(selector):
    """A selector that lists values in turn, so that none is left over from something that is gone."""
    plain = selector.get("matchLabels", {})
    listed = [e for e in selector.get("matchExpressions", []) if e["operator"] == "In"]
    if not plain and not listed:
        return [selector]
    return [{"matchLabels": plain}] * bool(plain) + [
        {"matchExpressions": [e | {"values": [value]}]} for e in listed for value in e["values"]
    ]


def peer_faults(manifests, peer):
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        private = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"}
        if block["cidr"] == "0.0.0.0/0" and not private <= set(block.get("except", [])):
            yield "the internet includes the cluster's own addresses, or the cloud's metadata"
    elif "namespaceSelector" in peer:
        if "kubernetes.io/metadata.name" not in peer["namespaceSelector"].get("matchLabels", {}):
            yield "a namespace is not named"
    elif not peer.get("podSelector"):
        yield "a peer is every pod"
    elif any(not manifests.selected(one) for one in each_value(peer["podSelector"])):
        yield f"a peer selects no pod: {peer['podSelector']}"


@rule
def pods_reach_what_they_need_and_nothing_else(manifests):
    """Among the pods of the namespace, policies allow, on both sides, exactly the ways that the settings name, and
    those to PostgreSQL; and names can be looked up by whoever looks one up."""
    need = set(ways_needed(manifests))
    out, into = set(ways_allowed(manifests, "egress")), set(ways_allowed(manifests, "ingress"))
    for way in sorted(need | out | into):
        text = f"{way[0]} → {way[1]}:{way[2]}"
        if way in need and way not in out & into:
            yield f"{text} is needed, and denied by the {'egress' if way not in out else 'ingress'} policies"
        if way not in need:
            yield f"{text} is allowed, and nothing that is set needs it"
    for workload in manifests.workloads():
        asks = any(service_of(container) for container in containers_of(workload))
        if asks and not {("UDP", 53), ("TCP", 53)} <= set(dns_ports(manifests, workload)):
            yield f"{told(workload)}: may not look names up over both UDP and TCP"


def ways_needed(manifests):
    for workload in manifests.workloads():
        for container in containers_of(workload):
            for name, value in manifests.environment(container).items():
                if not name.endswith("_URL") or not value.startswith("http"):
                    continue
                url = urlsplit(value)
                if service := manifests.get("Service", url.hostname):
                    for target in manifests.selected({"matchLabels": service["spec"]["selector"]}):
                        yield name_of(workload), name_of(target), url.port
    if manifests.get("StatefulSet", "postgres"):
        for workload in manifests.workloads():
            if any("DATABASE_URL_FILE" in manifests.environment(c) for c in containers_of(workload)):
                yield name_of(workload), "postgres", 5432


def ways_allowed(manifests, direction):
    for policy in manifests.of("NetworkPolicy"):
        for entry in policy["spec"].get(direction, []):
            for peer in entry.get("from" if direction == "ingress" else "to", []):
                if "podSelector" not in peer or "namespaceSelector" in peer:
                    continue
                for here in manifests.selected(policy["spec"]["podSelector"]):
                    for there in manifests.selected(peer["podSelector"]):
                        for port in entry.get("ports", []):
                            way = (here, there) if direction == "egress" else (there, here)
                            yield name_of(way[0]), name_of(way[1]), port["port"]


def dns_ports(manifests, workload):
    for policy in manifests.of("NetworkPolicy"):
        if selects(policy["spec"]["podSelector"], labels_of(workload)):
            for entry in policy["spec"].get("egress", []):
                peers = [peer.get("podSelector", {}).get("matchLabels", {}) for peer in entry.get("to", [])]
                if any(labels.get("k8s-app") == "kube-dns" for labels in peers):
                    yield from ((port["protocol"], port["port"]) for port in entry["ports"])


@rule
def operations_ports_are_for_monitoring(manifests):
    """Operations ports are reached from the monitoring namespace alone, and stand in no Service."""
    ops = {facts.ports(service)[1] for service in facts.SERVICES}
    for service in manifests.of("Service"):
        if ops & {port["port"] for port in service["spec"]["ports"]}:
            yield f"{told(service)}: has an operations port"
    for policy in manifests.of("NetworkPolicy"):
        for entry in policy["spec"].get("ingress", []):
            if ops & {port["port"] for port in entry.get("ports", [])}:
                names = {
                    peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
                    for peer in entry.get("from", [])
                }
                if names != {"monitoring"}:
                    yield f"{told(policy)}: lets others than monitoring to an operations port: {names}"


# ── Alerts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@rule
def alerts_use_metrics_that_there_are(manifests):
    """Every metric of an alert, and each of its labels, is in docs/metrics.md; it says how bad that is, and what to do."""
    known = facts.metrics()
    for rules in manifests.of("PrometheusRule"):
        for alert in (alert for group in rules["spec"]["groups"] for alert in group["rules"]):
            place, expression = f"{told(rules)}, {alert['alert']}", alert["expr"]
            bare = re.sub(r'"[^"]*"', '""', expression)
            bare = re.sub(r"\b(by|on)\s*\([^)]*\)", "", bare)
            selectors = dict.fromkeys(re.findall(r"\b([a-z]\w*_\w+|up)\b(?!\s*\()(\{[^}]*\})?", bare))
            if not selectors:
                yield f"{place}: names no metric"
            for name, labels in selectors:
                if name not in known:
                    yield f"{place}: docs/metrics.md has no {name}"
                    continue
                unknown = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels)) - known[name] - facts.TARGET_LABELS
                yield from (f"{place}: docs/metrics.md gives {name} no label {label}" for label in sorted(unknown))
            if alert.get("labels", {}).get("severity") not in ("critical", "warning"):
                yield f"{place}: severity is critical or warning"
            if not alert.get("annotations", {}).keys() >= {"summary", "description"}:
                yield f"{place}: says not what is wrong, and what to do"
            if alert.get("annotations", {}).get("runbook") != f"docs/alerts.md#{alert['alert'].lower()}":
                yield f"{place}: its runbook is not its section of docs/alerts.md"
