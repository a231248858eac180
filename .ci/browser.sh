#!/usr/bin/env bash
# Does what docs/one-origin.md says, with the app in dev/browser, and drives it in Chromium: a line for
# each check. Takes its ports (and 3002); leaves nothing running. Logs and screenshots are in target/browser.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$PWD/target/browser
rm -rf "$out"
mkdir -p "$out"
export NEXT_TELEMETRY_DISABLED=1 BETTER_AUTH_TELEMETRY=0
# Where the surrounding machine sets what that page leaves alone.
unset PORT BETTER_AUTH_SECRETS

if ! command -v chromium >/dev/null; then
    root=()
    [ "$(id -u)" = 0 ] || root=(sudo)
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium >/dev/null
fi

work=$(mktemp -d)
chmod 755 "$work"
started=()
stop() {
    # The last started first; each has a process group of its own. PostgreSQL ends with what it reads.
    for ((n = ${#started[@]} - 1; n >= 0; n--)); do
        if [ "$n" = 0 ]; then exec {open}>&-; else kill -TERM -- "-${started[n]}" 2>/dev/null || true; fi
        wait "${started[n]}" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap stop EXIT
# start NAME COMMAND…: in the background
start() {
    setsid "${@:2}" {open}>&- >"$out/$1.log" 2>&1 &
    started+=($!)
}
# await NAME LINE: until the log of what was started last has such a line
await() {
    for _ in $(seq 1200); do
        ! grep --quiet "$2" "$out/$1.log" || return 0
        kill -0 "${started[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    echo "$1 did not come up:"
    cat "$out/$1.log"
    exit 1
}

cargo build --quiet --locked --package usher --package dev-postgres

# One database for all, as where both have one connection string of Neon's.
mkfifo "$work/open"
exec {open}<>"$work/open"
# It ends with its standard input, which is nothing for what runs in the background, unless said there.
start postgres sh -c 'exec target/debug/dev-postgres "$1" app <"$2"' start "$work/data" "$work/open"
await postgres '^postgresql:'
DATABASE_URL=$(grep '^postgresql:' "$out/postgres.log")
rm "$out/postgres.log"
BETTER_AUTH_SECRET=$(head -c 32 /dev/urandom | base64)
export DATABASE_URL BETTER_AUTH_SECRET BETTER_AUTH_URL=http://localhost:8000

(
    cd dev/browser
    mkdir -p public
    head -c 8388608 /dev/urandom >public/large.bin
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
    npm run --silent migrate
    npm run --silent build
)
start live env -C dev/browser node live/server.mjs
await live '^listening'
start next env -C dev/browser node_modules/.bin/next start
await next 'Ready'

# The page's settings, and the example's WebSocket server. A slow machine is not what is checked here.
awk '/^ *```sh$/ { block = ""; next } /^ *```$/ { if (block ~ /GATEWAY_CONFIG=deploy\/one-origin/) printf "%s", block; block = "" }
    { sub(/^ +/, ""); block = block $0 "\n" }' docs/one-origin.md >"$out/settings"
grep --quiet '^GATEWAY_CONFIG=' "$out/settings" || { echo 'docs/one-origin.md has no settings'; exit 1; }
sed '/^# live = /s/^# //; /^# \[\[routes\]\]/,/^# cors/s/^# //' deploy/one-origin.toml >"$work/one-origin.toml"
set -a
# shellcheck disable=SC1091 # It was just made.
. "$out/settings"
set +a
start usher env GATEWAY_CONFIG="$work/one-origin.toml" USHER_DATA_DIR="$work/usher" \
    GATEWAY_VERIFIER__TIMEOUT_MS=20000 AUTH_VERIFIER_SESSION__TIMEOUT_MS=20000 cargo run --quiet
await usher '^curl http'

cd dev/browser
OUT=$out USHER_PID=${started[-1]} npm run --silent check
