#!/usr/bin/env bash
# What a verdict costs, and how many a core gives in a second, beside peers: two tables. README.md says how to read
# them. Takes some minutes; `--help` says how to make it shorter.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PATH:/usr/sbin"

missing=()
for tool in cargo:cargo wrk:wrk nginx:nginx taskset:util-linux setpriv:util-linux; do
    command -v "${tool%:*}" >/dev/null || missing+=("${tool#*:}")
done
if [ "${#missing[@]}" -gt 0 ]; then
    echo "Missing: ${missing[*]}. On Debian: apt-get install ${missing[*]}; for cargo, https://rustup.rs" >&2
    exit 1
fi
exec cargo run --quiet --release --locked -p bench -- "$@"
