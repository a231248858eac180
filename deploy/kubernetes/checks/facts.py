"""What the manifests are held against, read where it is written: the settings, the metrics, the version."""

import re
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

SERVICES = ("gateway", "auth-verifier", "task-service")

# The uid and gid of the images (deploy/Dockerfile).
USER = 65532

# How long a service may take to end beside its delay and its drain (chassis/src/process.rs, END).
END_SECS = 3

# What Prometheus adds by itself, or has from the monitor.
TARGET_LABELS = {"namespace", "pod", "container", "le"}


def prefix(service):
    return service.replace("-", "_").upper() + "_"


@cache
def variables():
    """Every variable that .env.example explains, and its default."""
    text = (ROOT / ".env.example").read_text()
    return dict(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", text, re.MULTILINE))


@cache
def variables_of(service):
    """Those that a service reads: by its prefix, the well-known ones of its defaults.toml, and OpenTelemetry's."""
    defaults = (ROOT / service / "defaults.toml").read_text()
    known = set(re.findall(r"Variable: ([A-Z0-9_]+)", defaults)) | {"RUST_LOG"}
    return {name for name in variables() if name.startswith((prefix(service), "OTEL_")) or name in known}


@cache
def ports(service):
    """The port for traffic, and that for operators."""
    listen, ops = (variables()[prefix(service) + key] for key in ("LISTEN", "OPS_LISTEN"))
    return int(listen.rsplit(":", 1)[1]), int(ops.rsplit(":", 1)[1])


@cache
def metrics():
    """The names of docs/metrics.md, each with its labels; of a histogram those that Prometheus sees."""
    found = {"up": set()}
    table = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    for name, kind, labels in table:
        names = [name + end for end in ("_bucket", "_sum", "_count")] if kind == "histogram" else [name]
        # A label stands first in its line, before a colon; what follows are its values.
        labelled = {label for line in labels.split("<br>") for label in re.findall(r"^`(\w+)`:", line)}
        for each in names:
            found.setdefault(each, set()).update(labelled)
    return found


@cache
def version():
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
