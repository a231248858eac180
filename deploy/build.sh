#!/bin/sh
# Builds the images of the three services, tagged by what they are built of, and prints the tag:
#
#     deploy/build.sh                   localhost/usher/gateway:0.1.0 and so on
#     deploy/build.sh gateway           that one alone
#
# The tag is USHER_VERSION where that is set, else what git says: the version at its release, or 0.1.0-7-g1a2b3c4 seven commits
# later, with -dirty behind it where the checkout has changes that are no commit. Never `latest`: a tag that moves can't be rolled
# back to. USHER_IMAGES is what stands before the names instead of localhost/usher: registry.example.com/team. ENGINE is `docker`
# unless set.
set -eu
cd "$(dirname "$0")/.."
version=${USHER_VERSION:-}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
if [ -z "$version" ]; then
    version=$(git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null | sed 's/^v//') || version=
    # No release yet, or a clone without its tags.
    [ -n "$version" ] || version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)-g$(git describe --always --dirty) || {
        echo 'deploy/build.sh: this is no clone: say in USHER_VERSION what the tag is to be' >&2
        exit 1
    }
fi
[ $# -gt 0 ] || set -- gateway auth-verifier task-service
for service in "$@"; do
    DOCKER_BUILDKIT=1 ${ENGINE:-docker} build --file deploy/Dockerfile --target "$service" \
        --build-arg VERSION="$version" --build-arg REVISION="$revision" --build-arg SOURCE="${USHER_SOURCE:-}" \
        --tag "${USHER_IMAGES:-localhost/usher}/$service:$version" . >&2
done
echo "USHER_VERSION=$version"
