#!/usr/bin/env bash
# Starts the demo by README's command, and drives it in Chromium: from its own web server, across origins, and through the gateway. A
# line for each check. Takes README's ports and 3000; leaves nothing running. Logs, and pictures of what failed, are in target/demo.
#
# `.ci/demo.sh screenshots` makes those of docs/images instead.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$PWD/target/demo
rm -rf "$out"
mkdir -p "$out"

if ! command -v chromium >/dev/null; then
    root=()
    [ "$(id -u)" = 0 ] || root=(sudo)
    "${root[@]}" apt-get update -qq
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium >/dev/null
fi

work=$(mktemp -d)
chmod 755 "$work"
run=
stop() {
    [ -z "$run" ] || kill -TERM "$run" 2>/dev/null || true
    [ -z "$run" ] || wait "$run" 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

(
    cd deploy/demo
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
    npx --no-install tsc
)
(cd dev/demo && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
cargo build --quiet --locked --package usher
# Unset what the surrounding machine may have set. A slow machine is not what is checked here.
env -u DATABASE_URL -u BETTER_AUTH_SECRET -u BETTER_AUTH_URL -u PORT -u APP_ENV -u NODE_ENV USHER_DATA_DIR="$work/data" \
    GATEWAY_VERIFIER__CONNECT_MS=10000 GATEWAY_VERIFIER__TIMEOUT_MS=20000 AUTH_VERIFIER_SESSION__TIMEOUT_MS=20000 \
    setsid cargo run --quiet -- demo >"$out/demo.log" 2>&1 &
run=$!
for _ in $(seq 1800); do
    ! grep --quiet '^curl http' "$out/demo.log" || break
    kill -0 "$run" 2>/dev/null || break
    sleep 0.1
done
grep --quiet '^curl http' "$out/demo.log" || { echo 'The demo did not come up:'; cat "$out/demo.log"; exit 1; }

cd dev/demo
if [ "${1:-}" = screenshots ]; then
    mkdir -p ../../docs/images
    npm run --silent screenshots ../../docs/images
else
    OUT=$out USHER_PID=$run npm run --silent check
    # One that ends as it should leaves nothing behind.
    kill -INT "$run"
    status=0
    wait "$run" || status=$?
    run=
    [ "$status" = 0 ] || { echo "Ctrl-C: exit code $status"; cat "$out/demo.log"; exit 1; }
    ! pgrep --full "$work/data" >/dev/null || { echo 'Something of it still runs'; exit 1; }
fi
