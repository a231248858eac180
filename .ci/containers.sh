#!/usr/bin/env bash
# Builds the images on a container engine and runs the compose file on it, as dev/containers tells. Brings the engine along, needs
# root, and leaves nothing outside of target/containers, where what was fetched and built is kept for the next run.
# `.ci/containers.sh fetch` only fetches.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$PWD/target/containers
mkdir -p "$folder"

[ "$(id -u)" = 0 ] || { echo 'containers: an engine of its own needs root'; exit 1; }
missing=()
for tool in ip:iproute2 unshare:util-linux setpriv:util-linux xz:xz-utils; do
    command -v "${tool%:*}" >/dev/null || missing+=("${tool#*:}")
done
[ "${#missing[@]}" = 0 ] || { apt-get update -qq && apt-get install -qq --no-install-recommends "${missing[@]}" >/dev/null; }

# What needs a network; the engine has none.
dev/containers/programs.sh "$folder"
dev/containers/stand-ins.sh "$folder" gather
if ! cmp --silent Cargo.lock "$folder/vendored.lock"; then
    rm -rf "$folder/vendor"
    cargo vendor --quiet --locked "$folder/vendor" >/dev/null
    cp Cargo.lock "$folder/vendored.lock"
fi
[ "${1:-}" != fetch ] || exit 0
cargo test --quiet --locked -p dev-containers --no-run

export USHER_VENDORED_CRATES=$folder/vendor
dev/containers/engine.sh "$folder" bash -c '
    set -e
    dev/containers/stand-ins.sh "$0" load
    cargo test --locked --offline -p dev-containers --test it -- --ignored --test-threads=1 --nocapture
' "$folder"
