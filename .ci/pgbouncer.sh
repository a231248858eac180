#!/usr/bin/env bash
# Builds a PgBouncer that tracks prepared statements, which Debian 12's does not: the source of Debian 13. Prints where it is.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$PWD/target/pgbouncer
if ! [ -x "$folder/pgbouncer" ]; then
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    # From wherever this machine has its packages.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' \
        | grep --invert-match security | head -n 1)
    echo "deb-src [signed-by=$keys] $mirror trixie main" >"$folder/sources.list"
    apt=(apt-get -qq -o "Dir::Etc::sourcelist=$folder/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=)
    "${apt[@]}" update >&2
    (
        cd "$folder"
        "${apt[@]}" source --download-only pgbouncer >&2
        rm -rf source && mkdir source
        tar --extract --file pgbouncer_*.orig.tar.gz --directory source --strip-components 1
        cd source
        ./configure --without-cares >/dev/null
        make -j2 pgbouncer >/dev/null
    )
    cp "$folder/source/pgbouncer" "$folder/pgbouncer"
fi
# The tests run it as a user who need not reach this folder.
installed=$(mktemp -d /tmp/pgbouncer-XXXXXX)
chmod 755 "$installed"
cp "$folder/pgbouncer" "$installed/"
echo "$installed/pgbouncer"
