#!/usr/bin/env bash
# Does what docs/one-origin.md says, with the app in dev/browser/one-origin, and drives it in Chromium: a line for
# each check. Takes its ports (and 3002); leaves nothing running. Logs and screenshots are in target/browser.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/services.sh browser
app=dev/browser/one-origin

browser
# One database for all, as where both have one connection string of Neon's.
database
BETTER_AUTH_SECRET=$(head -c 32 /dev/urandom | base64)
export BETTER_AUTH_SECRET BETTER_AUTH_URL=http://localhost:8000

mkdir -p "$app/public"
head -c 8388608 /dev/urandom >"$app/public/large.bin"
npm run --silent --prefix "$app" migrate
npm run --silent --prefix "$app" build
start live env -C "$app" node live/server.mjs
await live '^listening'
start next env -C "$app" ../node_modules/.bin/next start
await next 'Ready'

# The page's settings, and the example's WebSocket server.
awk '/^ *```sh$/ { block = ""; next } /^ *```$/ { if (block ~ /GATEWAY_CONFIG=deploy\/one-origin/) printf "%s", block; block = "" }
    { sub(/^ +/, ""); block = block $0 "\n" }' docs/one-origin.md >"$out/settings"
grep --quiet '^GATEWAY_CONFIG=' "$out/settings" || { echo 'docs/one-origin.md has no settings'; exit 1; }
sed '/^# live = /s/^# //; /^# \[\[routes\]\]/,/^# cors/s/^# //' deploy/one-origin.toml >"$work/one-origin.toml"
set -a
# shellcheck disable=SC1091 # It was just made.
. "$out/settings"
set +a
usher usher GATEWAY_CONFIG="$work/one-origin.toml" "${slow[@]}"

OUT=$out USHER_PID=${started[-1]} npm run --silent --prefix "$app" check
