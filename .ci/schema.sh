#!/usr/bin/env bash
# Holds the running services against the document that they serve: schemathesis asks what it allows and what it does not; a typed
# client is made from it, compiled, and walks through the API; the demo has the same one. Leaves nothing running. What was asked is
# in target/schema. With UPDATE=1, the demo gets the one that was made.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/services.sh schema

# Ports of their own: README's may be taken, and nothing here depends on them.
export BETTER_AUTH_SECRET ORIGIN=http://127.0.0.1:8700
BETTER_AUTH_SECRET=$(head -c 32 /dev/urandom | base64)
export GATEWAY_LISTEN=127.0.0.1:8700 AUTH_VERIFIER_LISTEN=127.0.0.1:8701 TASK_SERVICE_LISTEN=127.0.0.1:8702 \
    GATEWAY_OPS_LISTEN=127.0.0.1:9700 AUTH_VERIFIER_OPS_LISTEN=127.0.0.1:9701 TASK_SERVICE_OPS_LISTEN=127.0.0.1:9702
usher usher "${slow[@]}"
TOKEN=$(target/debug/usher auth-verifier token --sub ada)
export TOKEN DOCUMENT=$out/openapi.json
curl --silent --show-error --fail --max-time 60 --output "$DOCUMENT" "$ORIGIN/api/openapi.json"

echo 'The typed client:'
(
    cd dev/schema
    rm -rf generated
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
    npm run --silent generate >/dev/null
    # The one place of the client is a frontend that has it.
    client=../../deploy/demo/src/api
    [ -z "${UPDATE:-}" ] || cp generated/schema.d.ts "$client"
    diff "$client/schema.d.ts" generated/schema.d.ts >&2 ||
        { echo 'The API has changed: UPDATE=1 .ci/schema.sh makes the types once more'; exit 1; }
    cp "$client/client.ts" generated
    npm run --silent compile
    npm run --silent walk
)

echo 'schemathesis:'
tools=$(.ci/pip.sh schema)
here=$PWD
# What it remembers from run to run stays out of the tree.
(
    cd "$out"
    PYTHONPATH=$here/dev/schema PYTHONDONTWRITEBYTECODE=1 SCHEMATHESIS_HOOKS=hooks \
        "$tools/schemathesis" --no-color --config-file "$here/dev/schema/schemathesis.toml" run "$ORIGIN/api/openapi.json" \
        --report junit --report-junit-path schemathesis.xml
)

# What no answer shows: a panic, or an error that was noted.
! grep --extended-regexp '"level":"ERROR"|^[^{]* ERROR |panicked' "$out/usher.log" || { echo 'An error was noted'; exit 1; }
