#!/usr/bin/env bash
# Renders deploy/kubernetes in every way that is offered, and checks what comes out: against the schemas of Kubernetes,
# by the rules of deploy/kubernetes/checks, and by the services, which are asked whether they accept the settings, and
# run with them. Needs no cluster, but root (files and users are those of the pods, namespaces are the kernel's),
# Python, and PostgreSQL's server.
#
# USHER names a built `usher`; else target/debug/usher is built.
set -euo pipefail
cd "$(dirname "$0")/.."
checks=deploy/kubernetes/checks
tools=$(.ci/pip.sh kubernetes)
export KUBECTL=$tools/kubectl
# -B: leaves nothing beside the sources.
python=("$tools/python" -B)
root=()
[ "$(id -u)" = 0 ] || root=(sudo --preserve-env)
rendered=target/kubernetes/rendered

echo 'Kubernetes: what the checks must refuse'
"${python[@]}" "$checks/test_checks.py" --quiet

echo 'Kubernetes: every overlay, with every component'
rm -rf "$rendered" && mkdir -p "$rendered"
# NAME OVERLAY [COMPONENT…]
render() {
    local name=$1 overlay=$2 folder=target/kubernetes/overlays/$1
    shift 2
    mkdir -p "$folder"
    {
        echo 'apiVersion: kustomize.config.k8s.io/v1beta1'
        echo 'kind: Kustomization'
        echo "resources: [../../../../deploy/kubernetes/overlays/$overlay]"
        echo 'components:'
        printf -- '  - ../../../../deploy/kubernetes/components/%s\n' "$@"
    } >"$folder/kustomization.yaml"
    "$KUBECTL" kustomize "$folder" >"$rendered/$name.yaml"
}
for overlay in deploy/kubernetes/overlays/*/; do
    "$KUBECTL" kustomize "$overlay" >"$rendered/$(basename "$overlay").yaml"
done
render local-sidecar local sidecar
render local-monitoring local monitoring
render neon-gateway-api neon gateway-api monitoring
render neon-ingress neon ingress
render neon-ipv6 neon ipv6
render sidecar-everything sidecar gateway-api ingress monitoring ipv6
for component in deploy/kubernetes/components/*/; do
    grep --quiet "components/$(basename "$component")$\|^  - \.\./$(basename "$component")$" -r \
        target/kubernetes/overlays deploy/kubernetes/overlays deploy/kubernetes/base deploy/kubernetes/components ||
        { echo "no overlay here has the component $(basename "$component")"; exit 1; }
done
if machines=$(command -v kubectl); then
    # Users have other versions than ours.
    for overlay in deploy/kubernetes/overlays/*/; do
        "$machines" kustomize "$overlay" | cmp - "$rendered/$(basename "$overlay").yaml"
    done
    echo "rendered alike by $("$machines" version --client | tr '\n' ' ')"
fi
"${python[@]}" "$checks/schemas.py" "$rendered"/*.yaml
"${python[@]}" "$checks/check.py" "$rendered"/*.yaml
"${python[@]}" "$checks/documented.py" "$rendered"/{local,neon,sidecar}*.yaml

echo 'Kubernetes: the services accept the settings'
if [ -z "${USHER:-}" ]; then
    cargo build --quiet --locked --package usher
    USHER=target/debug/usher
fi
"${root[@]}" "${python[@]}" "$checks/settings.py" "$USHER" "$rendered"/*.yaml

echo 'Kubernetes: a request walks, and the pods are told to stop'
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || {
    # Only the programs: the package would start a server.
    "${root[@]}" mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | "${root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends postgresql >/dev/null
}
walks=()
for overlay in local local-sidecar; do
    "${root[@]}" unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private \
        "${python[@]}" "$checks/walk.py" "$USHER" "$rendered/$overlay.yaml" &
    walks+=($!)
done
for walk in "${walks[@]}"; do wait "$walk"; done

echo "Kubernetes: what makes each alert fire, and the dashboard's queries"
promtool=$(command -v promtool || true)
if [ -z "$promtool" ]; then
    promtool=target/kubernetes/prometheus/usr/bin/promtool
    # Only the program: the package would start a server.
    [ -x "$promtool" ] || (
        cd target/kubernetes
        apt-get download -qq -o APT::Sandbox::User=root prometheus
        dpkg --extract prometheus_*.deb prometheus
    )
fi
alerts=target/kubernetes/alerts
mkdir -p "$alerts"
cp deploy/kubernetes/components/monitoring/alerts.test.yaml "$alerts/"
"${python[@]}" - "$alerts" <<'PYTHON'
import json, sys, yaml

rules = yaml.safe_load(open("deploy/kubernetes/components/monitoring/alerts.yaml"))["spec"]
yaml.safe_dump(rules, open(f"{sys.argv[1]}/alerts.yaml", "w"))
# The tests are of when, not of what is said.
alerts = [alert for group in rules["groups"] for alert in group["rules"]]
for alert in alerts:
    del alert["annotations"]
yaml.safe_dump(rules, open(f"{sys.argv[1]}/alerts.groups.yaml", "w"))
# As rules, which promtool parses as it would any other.
panels = json.load(open("deploy/grafana/usher.json"))["panels"]
queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
queries = [query.replace("$__rate_interval", "5m").replace("$namespace", ".*").replace("$pod", ".*") for query in queries]
queries = [{"record": f"dashboard:{number}", "expr": query} for number, query in enumerate(queries)]
yaml.safe_dump({"groups": [{"name": "dashboard", "rules": queries}]}, open(f"{sys.argv[1]}/dashboard.yaml", "w"))
tests = yaml.safe_load(open(f"{sys.argv[1]}/alerts.test.yaml"))["tests"]
fires = {t["alertname"] for test in tests for t in test["alert_rule_test"] if t["exp_alerts"]}
quiet = {t["alertname"] for test in tests for t in test["alert_rule_test"] if not t["exp_alerts"]}
untested = {alert["alert"] for alert in alerts} - (fires & quiet)
sys.exit(f"alerts.test.yaml doesn't try both ways: {sorted(untested)}" if untested else 0)
PYTHON
"$promtool" check rules "$alerts/alerts.yaml" "$alerts/dashboard.yaml"
"$promtool" test rules "$alerts/alerts.test.yaml"
