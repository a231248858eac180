#!/usr/bin/env bash
# Does what docs/neon-auth.md says, with the app and the page in dev/browser/neon-auth and a Better Auth there that plays Neon, and
# drives them in Chromium: a line for each check. Takes the ports 3000, 4400, 5173 and those of `cargo run`; leaves nothing running.
# Logs are in target/neon-auth.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/services.sh neon-auth
app=dev/browser/neon-auth

# check NAME [VARIABLE=VALUE…]: `cargo run` with what Neon's console gives and those variables, and what must hold then
check() {
    echo "# $1"
    usher "usher-$1" "${@:2}" "${slow[@]}"
    OUT=$out npm run --silent --prefix "$app" check -- "checks/$1.check.mjs"
    end
}
# documented FILE: the lines that the page has for those routes
documented() {
    awk -v file="$1" '/^```dotenv$/ { block = ""; next } /^```$/ { if (index(block, "GATEWAY_CONFIG=" file)) printf "%s", block; block = "" }
        { block = block $0 "\n" }' docs/neon-auth.md >"$out/settings"
    grep --quiet '^GATEWAY_CONFIG=' "$out/settings" || { echo "docs/neon-auth.md has no settings for $1"; exit 1; }
    mapfile -t lines <"$out/settings"
}

browser
# What Neon's console and its quick start give. Neon's own URL is https, and of a host of Neon's; this one is plain HTTP, which is taken
# of this machine alone.
database
NEON_AUTH_COOKIE_SECRET=$(head -c 32 /dev/urandom | base64)
export NEON_AUTH_COOKIE_SECRET NEON_AUTH_BASE_URL=http://localhost:4400/neondb/auth

npm run --silent --prefix "$app" build
start neon env -C "$app" ORIGINS=http://localhost:3000,http://localhost:8000 node neon/server.mjs
await neon '^http'
start next env -C "$app" ../node_modules/.bin/next start
await next 'Ready'
start page env -C "$app" node page/server.mjs
await page '^listening'

check quick-start
documented deploy/one-origin.toml
check one-origin "${lines[@]}"
documented deploy/neon-auth.toml
check straight "${lines[@]}"
