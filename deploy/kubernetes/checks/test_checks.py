"""What the checks must refuse: good overlays, each with one thing made bad. KUBECTL names another kubectl."""

import copy
import os
import re
import subprocess
import unittest
from pathlib import Path

import yaml

import check
import facts
import schemas
from manifests import Manifests

KUBERNETES = Path(__file__).resolve().parents[1]


def render(overlay):
    done = subprocess.run(
        [os.environ.get("KUBECTL", "kubectl"), "kustomize", KUBERNETES / overlay],
        check=True,
        capture_output=True,
        text=True,
    )
    return list(yaml.safe_load_all(done.stdout))


GOOD = {name: render(f"overlays/{name}") for name in ("local", "neon", "sidecar")}
MONITORING, INGRESS = KUBERNETES / "components/monitoring", KUBERNETES / "components/ingress"
for component in (MONITORING, INGRESS):
    for file in component.glob("*.yaml"):
        if file.name not in ("kustomization.yaml", "alerts.test.yaml"):
            for obj in yaml.safe_load_all(file.read_text()):
                obj["metadata"]["namespace"] = "usher"
                GOOD["neon"].append(obj)

# Where a change begins, by a word.
PLACES = {
    "gateway": ("neon", "Deployment", "gateway", "spec.template.spec"),
    "gateway container": ("neon", "Deployment", "gateway", "spec.template.spec.containers.0"),
    "auth-verifier": ("neon", "Deployment", "auth-verifier", "spec.template.spec"),
    "auth-verifier container": ("neon", "Deployment", "auth-verifier", "spec.template.spec.containers.0"),
    "sidecar": ("sidecar", "Deployment", "gateway", "spec.template.spec"),
    "gateway deployment": ("neon", "Deployment", "gateway", "spec"),
    "job container": ("neon", "Job", "task-service-migrate", "spec.template.spec.containers.0"),
    "postgres": ("local", "StatefulSet", "postgres", "spec.template.spec"),
    "gateway settings": ("neon", "ConfigMap", "gateway-", "data"),
    "task-service settings": ("neon", "ConfigMap", "task-service-", "data"),
    "gateway service": ("neon", "Service", "gateway", "spec"),
    "task-service service": ("neon", "Service", "task-service", "spec"),
    "autoscaler": ("neon", "HorizontalPodAutoscaler", "task-service", "spec"),
    "budget": ("neon", "PodDisruptionBudget", "gateway", "spec"),
    "default policy": ("neon", "NetworkPolicy", "default-deny", "spec"),
    "dns policy": ("neon", "NetworkPolicy", "dns", "spec"),
    "gateway policy": ("neon", "NetworkPolicy", "gateway", "spec"),
    "task-service policy": ("neon", "NetworkPolicy", "task-service", "spec"),
    "database policy": ("neon", "NetworkPolicy", "task-service-to-database", "spec"),
    "monitoring policy": ("neon", "NetworkPolicy", "operations-from-monitoring", "spec"),
    "namespace": ("neon", "Namespace", "usher", "metadata"),
    "ingress": ("neon", "Ingress", "gateway", "spec"),
    "monitor": ("neon", "PodMonitor", "usher", "spec"),
    "alert": ("neon", "PrometheusRule", "usher", "spec.groups.0.rules.1"),
}

DIGEST = "@sha256:" + 64 * "7"

GONE = object()
NAME = "app.kubernetes.io/name"
NAMESPACE = "kubernetes.io/metadata.name"

# Where, which field, its bad value, and what is said of it.
BAD = [
    ("gateway container", "image", "localhost/usher/gateway:latest", "pushed only once"),
    ("gateway container", "image", "localhost/usher/gateway", "pushed only once"),
    ("gateway container", "image", "registry.test:5000/usher/gateway", "pushed only once"),
    ("gateway container", "image", "localhost/usher/gateway:0.0.9", "is not of version"),
    ("gateway container", "image", f"usher/gateway:{facts.version()}", "so it is Docker Hub's"),
    ("gateway container", "image", f"usher/gateway{DIGEST}", "so it is Docker Hub's"),
    ("gateway container", "image", f"registry.test/usher/gateway{DIGEST[:-1]}", "pushed only once"),
    ("gateway container", "resources.limits.memory", GONE, "no limits.memory"),
    ("job container", "resources.requests.cpu", GONE, "no requests.cpu"),
    ("postgres", "containers.0.resources", GONE, "no limits.cpu"),
    ("gateway", "securityContext.runAsNonRoot", GONE, "runs as root"),
    ("gateway", "securityContext.runAsUser", 0, "runs as root"),
    ("gateway", "securityContext.runAsUser", 1000, "another user than 65532"),
    ("gateway", "securityContext.seccompProfile", GONE, "seccompProfile"),
    ("gateway", "automountServiceAccountToken", GONE, "token of the API server"),
    ("gateway", "serviceAccountName", "default", "no ServiceAccount of its own"),
    ("gateway", "enableServiceLinks", GONE, "look like settings"),
    ("gateway", "hostNetwork", True, "has hostNetwork"),
    ("auth-verifier", "volumes.0", {"name": "secrets", "hostPath": {"path": "/"}}, "restricted standard forbids"),
    ("gateway container", "securityContext.allowPrivilegeEscalation", True, "gain privileges"),
    ("gateway container", "securityContext.privileged", True, "gain privileges"),
    ("gateway container", "securityContext.capabilities", {"drop": ["ALL"], "add": ["NET_RAW"]}, "capabilities"),
    ("gateway container", "securityContext.readOnlyRootFilesystem", GONE, "root file system"),
    ("gateway container", "securityContext.runAsUser", 0, "another user"),
    ("gateway container", "ports.0.hostPort", 80, "port of the node"),
    ("namespace", "labels", {}, "does not enforce"),
    ("gateway settings", "GATEWAY_LIMITS__BODY_BYTS", "7", "GATEWAY_LIMITS__BODY_BYTS is no variable of gateway"),
    ("gateway settings", "TASK_SERVICE_MIGRATE", "off", "TASK_SERVICE_MIGRATE is no variable of gateway"),
    ("gateway settings", "BETTER_AUTH_SECRET", "hunter2", "BETTER_AUTH_SECRET looks like a secret"),
    ("task-service settings", "DATABASE_URL", "x", "DATABASE_URL looks like a secret"),
    ("gateway settings", "GATEWAY_TASK_SERVICE_URL", "http://u:hunter2@t:8002", "looks like a secret"),
    ("auth-verifier container", "env.0", {"name": "BETTER_AUTH_SECRET", "value": "hunter2"}, "looks like a secret"),
    (
        "auth-verifier container",
        "env.0",
        {"name": "BETTER_AUTH_SECRET", "valueFrom": {"secretKeyRef": {}}},
        "mount it as a file",
    ),
    ("auth-verifier container", "env.0.value", "/etc/secret", "no file of a mounted Secret"),
    ("auth-verifier", "volumes.0.secret.defaultMode", 0o444, "mode 0444"),
    ("auth-verifier", "volumes.0.secret.defaultMode", GONE, "mode 0644"),
    ("auth-verifier", "securityContext.fsGroup", GONE, "fsGroup equal to runAsGroup"),
    ("auth-verifier container", "envFrom.0", {"secretRef": {"name": "x"}}, "a Secret becomes variables"),
    ("job container", "args", ["migrate", "postgresql://u:hunter2@h/d"], "an argument looks like a secret"),
    ("job container", "envFrom", [{"configMapRef": {"name": "x"}}], "could not be applied"),
    ("gateway container", "envFrom.0.configMapRef.name", "gateway", "there is no ConfigMap gateway"),
    ("gateway container", "ports.0.containerPort", 8080, "listens on (8000, 9000)"),
    ("gateway settings", "GATEWAY_LISTEN", "[::]:8080", "the manifests say 8000"),
    ("sidecar", "initContainers.0.ports.0.name", "http", "two ports have one name"),
    ("gateway container", "livenessProbe.httpGet.path", "/readyz", "livenessProbe asks /readyz"),
    ("gateway container", "readinessProbe.httpGet.port", "http", "readinessProbe asks /readyz of port http"),
    ("gateway container", "startupProbe", GONE, "startupProbe asks None"),
    ("sidecar", "initContainers.0.readinessProbe.httpGet.port", "ops", "of port ops; want /readyz of 9001"),
    ("gateway", "terminationGracePeriodSeconds", GONE, "is 30; its services may take 43 s"),
    ("gateway", "terminationGracePeriodSeconds", 43, "is 43; its services may take 43 s"),
    ("gateway settings", "GATEWAY_SERVER__DRAIN_SECS", "60", "may take 78 s"),
    ("sidecar", "terminationGracePeriodSeconds", 50, "may take 51 s"),
    ("gateway deployment", "strategy.rollingUpdate.maxUnavailable", 1, "maxUnavailable 0"),
    ("gateway deployment", "strategy", GONE, "maxUnavailable 0"),
    ("gateway deployment", "replicas", 2, "set back what scaled it"),
    ("gateway", "topologySpreadConstraints", GONE, "is not spread"),
    ("gateway", "topologySpreadConstraints.0.labelSelector.matchLabels", {NAME: "x"}, "is not spread"),
    ("gateway", "topologySpreadConstraints.0.whenUnsatisfiable", "DoNotSchedule", "one node or zone"),
    ("gateway deployment", "selector.matchLabels", {"app.kubernetes.io/part-of": "usher"}, "other pods than its own"),
    ("gateway service", "selector", {NAME: "gatewy"}, "selects []"),
    ("gateway service", "ports.0.targetPort", "https", "leads to port {None}"),
    ("gateway service", "ports.0.targetPort", "ops", "leads to port {9000}"),
    ("task-service service", "clusterIP", GONE, "is not headless"),
    ("autoscaler", "scaleTargetRef.name", "task", "there is no Deployment task"),
    ("autoscaler", "minReplicas", 1, "from 1 to 8 replicas"),
    ("autoscaler", "metrics.0.resource.target", {"type": "Utilization", "averageUtilization": 70}, "want averageValue"),
    ("budget", "selector.matchLabels", {NAME: "x"}, "selects not one workload"),
    ("budget", "minAvailable", 1, "may block the drain"),
    ("budget", "maxUnavailable", 0, "may block the drain"),
    ("ingress", "rules.0.http.paths.0.backend.service.port", {"number": 80}, "leads to port 80"),
    ("ingress", "rules.0.http.paths.0.backend.service.name", "front", "of the Service front"),
    ("monitor", "podMetricsEndpoints.0.port", "metrics", "has a port metrics"),
    ("default policy", "policyTypes", ["Ingress"], "no NetworkPolicy denies everything"),
    ("default policy", "egress", [{}], "no NetworkPolicy denies everything"),
    ("gateway policy", "podSelector.matchLabels", {NAME: "x"}, "selects no pod"),
    ("dns policy", "podSelector.matchExpressions.0.values.0", "gatewy", "names one that there is not"),
    ("dns policy", "egress.0.ports.1.protocol", "UDP", "over both UDP and TCP"),
    (
        "dns policy",
        "podSelector.matchExpressions.0.values",
        ["auth-verifier"],
        "Deployment gateway: may not look names up",
    ),
    ("gateway policy", "egress.0.to.0.podSelector.matchLabels", {NAME: "x"}, "a peer selects no pod"),
    ("gateway policy", "egress.0.to.0", {"podSelector": {}}, "a peer is every pod"),
    ("gateway policy", "egress.0.to", [], "allows them all"),
    ("gateway policy", "egress.0.ports", GONE, "allows them all"),
    ("gateway policy", "egress.0.ports.0.port", 9001, "gateway → auth-verifier:9001 is allowed"),
    ("gateway policy", "egress.0.ports.0.port", 8101, "no pod behind it has the port 8101"),
    ("gateway policy", "egress", [], "gateway → task-service:8002 is needed, and denied by the egress"),
    ("gateway policy", "policyTypes", ["Ingress"], "policyTypes leave out"),
    ("task-service policy", "ingress", [], "gateway → task-service:8002 is needed, and denied by the ingress"),
    (
        "task-service policy",
        "ingress.0.from.0.podSelector.matchLabels",
        {NAME: "auth-verifier"},
        "auth-verifier → task-service:8002 is allowed",
    ),
    ("database policy", "egress.0.to.0.ipBlock.except", ["10.0.0.0/8"], "the cloud's metadata"),
    ("monitoring policy", "ingress.0.from.0.namespaceSelector", {}, "a namespace is not named"),
    (
        "monitoring policy",
        "ingress.0.from.0.namespaceSelector.matchLabels",
        {NAMESPACE: "web"},
        "others than monitoring",
    ),
    ("monitoring policy", "ingress.0.from.0", {"ipBlock": {"cidr": "10.0.0.0/8"}}, "others than monitoring"),
    ("task-service service", "ports.0.port", 9002, "has an operations port"),
    ("alert", "expr", "rate(http_request_total[5m]) > 1", "docs/metrics.md has no http_request_total"),
    ("alert", "expr", 'rate(http_requests_total{code="500"}[5m]) > 1', "gives http_requests_total no label code"),
    ("alert", "expr", "http_request_duration_seconds > 1", "docs/metrics.md has no http_request_duration_seconds"),
    ("alert", "expr", "vector(1) > 1", "names no metric"),
    ("alert", "labels.severity", "page", "critical or warning"),
    ("alert", "annotations.description", GONE, "what to do"),
    ("alert", "annotations.runbook", "docs/alerts.md#another", "its section of docs/alerts.md"),
]

# What Kubernetes itself would refuse or, worse, leave out.
INVALID = [
    ("gateway container", "readinessProb", {}, "readinessProb"),
    ("gateway container", "ports.0.containerPort", "8000", "8000"),
    ("gateway", "terminationGracePeriodSecs", 50, "terminationGracePeriodSecs"),
    ("gateway deployment", "selector", GONE, "selector"),
    ("autoscaler", "targetCPUUtilizationPercentage", 70, "targetCPUUtilizationPercentage"),
    ("monitor", "podMetricsEndpoints.0.prt", "ops", "prt"),
    ("monitor", "podMetricsEndpoints.0.interval", "30 s", "30 s"),
    ("alert", "expr", GONE, "expr"),
    ("alert", "annotation", {}, "annotation"),
]


def spoilt(place, field, value):
    overlay, kind, name, begin = PLACES[place]
    objects = copy.deepcopy(GOOD[overlay])
    exact = re.compile(name + "[a-z0-9]{10}" if name.endswith("-") else name)
    (at,) = [obj for obj in objects if obj["kind"] == kind and exact.fullmatch(obj["metadata"]["name"])]
    whole = at
    *way, last = begin.split(".") + field.split(".")
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at[step]
    last = int(last) if isinstance(at, list) else last
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return Manifests(objects), whole


class Checks(unittest.TestCase):
    maxDiff = None

    def test_good_overlays_pass(self):
        for name, objects in GOOD.items():
            self.assertEqual(check.faults_of(Manifests(objects)), [], name)
            self.assertEqual([fault for obj in objects for fault in schemas.faults_of(obj)], [], name)

    def test_what_is_bad_is_refused(self):
        for place, field, value, want in BAD:
            with self.subTest(place=place, field=field):
                manifests, _ = spoilt(place, field, value)
                faults = check.faults_of(manifests)
                self.assertTrue(any(want in fault for fault in faults), f"wanted {want!r} in {faults}")

    def test_every_rule_refuses_something(self):
        told = {fault.rsplit("[", 1)[1].rstrip("]") for bad in BAD for fault in check.faults_of(spoilt(*bad[:3])[0])}
        self.assertEqual({rule.__name__ for rule in check.RULES} - told, set())

    def test_what_no_api_server_would_take_as_meant_is_refused(self):
        for place, field, value, want in INVALID:
            with self.subTest(place=place, field=field):
                faults = list(schemas.faults_of(spoilt(place, field, value)[1]))
                self.assertTrue(any(want in fault for fault in faults), f"wanted {want!r} in {faults}")

    def test_images_of_a_registry_go_by_digest_or_by_its_own_tags(self):
        for image in (f"usher/gateway{DIGEST}", f"usher/gateway:0.1.0{DIGEST}", "usher/gateway:0.0.9-fixed"):
            manifests, _ = spoilt("gateway container", "image", f"registry.test:5000/{image}")
            self.assertEqual(check.faults_of(manifests), [], image)

    def test_an_unknown_kind_is_refused(self):
        obj = {"apiVersion": "example.test/v1", "kind": "Wish", "metadata": {"name": "x"}}
        self.assertIn("Couldn't find schema for kind Wish", next(schemas.faults_of(obj)))

    def test_a_secret_in_the_manifests_and_a_thing_that_stands_twice_are_refused(self):
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": "usher"}}
        faults = check.faults_of(Manifests([*GOOD["neon"], secret, secret]))
        self.assertTrue(any("a Secret with its value" in fault for fault in faults), faults)
        self.assertTrue(any("Secret x: stands twice" in fault for fault in faults), faults)

    def test_a_sidecar_that_differs_is_refused(self):
        overlays = [Manifests(objects) for objects in GOOD.values()]
        self.assertEqual(check.sidecars_that_differ(overlays), [])
        changed, _ = spoilt("sidecar", "initContainers.0.livenessProbe.periodSeconds", 7)
        self.assertNotEqual(check.sidecars_that_differ([*overlays, changed]), [])

    def test_facts_are_read_where_they_stand(self):
        self.assertEqual(facts.ports("auth-verifier"), (8001, 9001))
        self.assertIn("DATABASE_URL", facts.variables_of("task-service"))
        self.assertIn("BETTER_AUTH_URL", facts.variables_of("auth-verifier"))
        self.assertNotIn("DATABASE_URL", facts.variables_of("gateway"))
        self.assertEqual(facts.metrics()["database_errors_total"], {"kind"})
        self.assertEqual(facts.metrics()["verdicts_total"], {"result", "reason"})


if __name__ == "__main__":
    unittest.main()
