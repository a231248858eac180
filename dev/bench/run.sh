#!/usr/bin/env bash
# What a request costs: in instructions, in the process, over sockets, and beside other proxies. README.md says how to
# read the tables; `--help` lists the commands. Each table says what it misses, if anything.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PATH:/usr/sbin"
command -v cargo >/dev/null || { echo 'Missing: cargo (https://rustup.rs)' >&2; exit 1; }
exec cargo run --quiet --release --locked -p bench -- "$@"
