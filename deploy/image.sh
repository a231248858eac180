#!/bin/sh
# Run by the Dockerfile: builds the program of one package, and lays out the root of its image.
#
#     deploy/image.sh PACKAGE FOLDER
set -eu
package=$1 image=$2
cargo build --release --locked --offline --package "$package"
program=${CARGO_TARGET_DIR:-target}/release/$package

mkdir -p "$image/etc"
# Without symbols, a fifth smaller.
strip --strip-all -o "$image/service" "$program"
# The C library, and what loads it.
ldd "$program" | grep --only-matching '/[^ ]*' | xargs -I{} cp --parents --dereference {} "$image"
echo 'hosts: files dns' >"$image/etc/nsswitch.conf"
CARGO_NET_OFFLINE=true deploy/licenses.sh "$package" "$image/licenses"

# Nothing in the image tells when it was built.
find "$image" -exec touch --no-dereference --date='2000-01-01T00:00:00Z' {} +
