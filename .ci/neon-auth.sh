#!/usr/bin/env bash
# Does what docs/neon-auth.md says, with the app and the page in dev/neon-auth and a Better Auth there that plays Neon, and drives them in
# Chromium: a line for each check. Takes the ports 3000, 4400, 5173 and those of `cargo run`; leaves nothing running. Logs
# are in target/neon-auth.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$PWD/target/neon-auth
rm -rf "$out"
mkdir -p "$out"
export NEXT_TELEMETRY_DISABLED=1
# Where the surrounding machine sets what a new project has not.
unset PORT BETTER_AUTH_URL BETTER_AUTH_SECRET BETTER_AUTH_SECRETS CORS_ALLOWED_ORIGINS GATEWAY_CONFIG

if ! command -v chromium >/dev/null; then
    root=()
    [ "$(id -u)" = 0 ] || root=(sudo)
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium >/dev/null
fi

work=$(mktemp -d)
chmod 755 "$work"
started=()
end() {
    kill -TERM -- "-${started[-1]}" 2>/dev/null || true
    wait "${started[-1]}" 2>/dev/null || true
    unset 'started[-1]'
}
stop() {
    # The last started first; each has a process group of its own. PostgreSQL ends with what it reads.
    while [ "${#started[@]}" -gt 1 ]; do end; done
    if [ "${#started[@]}" = 1 ]; then
        exec {open}>&-
        wait "${started[0]}" 2>/dev/null || true
    fi
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
# check NAME [VARIABLE=VALUE…]: `cargo run` with what Neon's console gives and those variables, and what must hold then
check() {
    echo "# $1"
    start "usher-$1" env USHER_DATA_DIR="$work/usher" "${@:2}" cargo run --quiet --locked
    await "usher-$1" '^curl http'
    (cd dev/neon-auth && OUT=$out npm run --silent check -- "checks/$1.check.mjs")
    end
}

cargo build --quiet --locked --package usher --package dev-postgres

# What Neon's console and its quick start give. Neon's own URL is https, and of a host of Neon's; this one is plain HTTP, which is taken
# of this machine alone.
mkfifo "$work/open"
exec {open}<>"$work/open"
start postgres sh -c 'exec target/debug/dev-postgres "$1" app <"$2"' start "$work/data" "$work/open"
await postgres '^postgresql:'
DATABASE_URL=$(grep '^postgresql:' "$out/postgres.log")
rm "$out/postgres.log"
NEON_AUTH_COOKIE_SECRET=$(head -c 32 /dev/urandom | base64)
export DATABASE_URL NEON_AUTH_COOKIE_SECRET NEON_AUTH_BASE_URL=http://localhost:4400/neondb/auth

(
    cd dev/neon-auth
    npm ci --ignore-scripts --no-audit --no-fund --prefer-offline --loglevel=error
    npm run --silent build
)
start neon env -C dev/neon-auth ORIGINS=http://localhost:3000,http://localhost:8000 node neon/server.mjs
await neon '^http'
start next env -C dev/neon-auth node_modules/.bin/next start
await next 'Ready'
start page env -C dev/neon-auth node page/server.mjs
await page '^listening'

# documented FILE: the lines that the page has for those routes
documented() {
    awk -v file="$1" '/^```dotenv$/ { block = ""; next } /^```$/ { if (index(block, "GATEWAY_CONFIG=" file)) printf "%s", block; block = "" }
        { block = block $0 "\n" }' docs/neon-auth.md >"$out/settings"
    grep --quiet '^GATEWAY_CONFIG=' "$out/settings" || { echo "docs/neon-auth.md has no settings for $1"; exit 1; }
    mapfile -t lines <"$out/settings"
}

check quick-start
# A slow machine is not what is checked here.
slow=(GATEWAY_VERIFIER__TIMEOUT_MS=20000 AUTH_VERIFIER_SESSION__TIMEOUT_MS=20000)
documented deploy/one-origin.toml
check one-origin "${lines[@]}" "${slow[@]}"
documented deploy/neon-auth.toml
check straight "${lines[@]}" "${slow[@]}"
