#!/usr/bin/env bash
# Starts the demo by README's command, and drives it in Chromium: from its own web server, across origins, and through the gateway. A
# line for each check. Takes README's ports and 3000; leaves nothing running. Logs, and pictures of what failed, are in target/demo.
#
# `.ci/demo.sh screenshots` makes those of docs/images instead.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/services.sh demo

browser
(
    cd deploy/demo
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
    npx --no-install tsc
)
usher demo "${slow[@]}" -- demo

if [ "${1:-}" = screenshots ]; then
    mkdir -p docs/images
    npm run --silent --prefix dev/browser/demo screenshots "$PWD/docs/images"
else
    OUT=$out USHER_PID=${started[-1]} npm run --silent --prefix dev/browser/demo check
    interrupt demo
fi
