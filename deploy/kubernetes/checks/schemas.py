"""Validates rendered overlays strictly against the schemas of Kubernetes: schemas.py RENDERED.yaml…

An unknown field, a wrong type or a missing one is refused, for each of the three newest versions; custom resources by
custom_resources.yaml beside this file."""

import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

from manifests import Manifests, told

VERSIONS = ("1.37", "1.36", "1.35")

CUSTOM = yaml.safe_load(Path(__file__).with_name("custom_resources.yaml").read_text())


def faults_of(obj, versions=VERSIONS):
    kind = f"{obj['apiVersion']}/{obj['kind']}"
    if kind in CUSTOM:
        schema = {"$defs": CUSTOM["$defs"]} | CUSTOM[kind]
        for error in jsonschema.Draft202012Validator(schema).iter_errors(obj):
            yield f"{told(obj)}: {error.json_path}: {error.message}"
        return
    for version in versions:
        try:
            kubernetes_validate.validate(obj, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{told(obj)}: Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{told(obj)}: {error.message}"


def main(paths):
    # Most objects are alike in many overlays.
    objects = {yaml.safe_dump(obj): (path, obj) for path in paths for obj in Manifests.read(path).objects}
    faults = [f"{path}: {fault}" for path, obj in objects.values() for fault in faults_of(obj)]
    print("\n".join(faults) or f"{len(objects)} different objects are valid in Kubernetes {', '.join(VERSIONS)}")
    return 1 if faults or not objects else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
