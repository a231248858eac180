#!/usr/bin/env bash
# Installs the Python packages of .ci/requirements/NAME.txt, by version and hash, unless they are there already. Prints
# the folder of their programs:
#
#     tools=$(.ci/pip.sh tools)
#
# For other versions, change NAME.in, and then:
#
#     cd .ci/requirements && uv pip compile --generate-hashes --universal --python-version 3.11 NAME.in -o NAME.txt
set -euo pipefail
cd "$(dirname "$0")/.."
pins=.ci/requirements/$1.txt
folder=$PWD/target/python/$1
if ! cmp --quiet "$pins" "$folder/installed.txt" 2>/dev/null; then
    rm -rf "$folder"
    python3 -m venv "$folder" >&2
    # Wheels only: a source package runs its own code to be installed.
    "$folder/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: --require-hashes --requirement "$pins" >&2
    cp "$pins" "$folder/installed.txt"
fi
echo "$folder/bin"
