#!/usr/bin/env bash
# Fetches what the later steps of .ci/run take from the network, which mostly waits, while the compiler works. Each step fetches by
# itself what is not there.
set -euo pipefail
cd "$(dirname "$0")/.."
for name in h11 schema kubernetes; do .ci/pip.sh "$name" >/dev/null; done
. .ci/services.sh fetch
browser
.ci/containers.sh fetch
