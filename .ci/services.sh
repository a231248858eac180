# shellcheck shell=bash
# Sourced, at the root of the checkout, by what starts services: `. .ci/services.sh NAME`. Whatever was started has ended when the
# script does, and `$work`, the folder for its data, is gone; its logs stay in `$out`, target/NAME.
out=$PWD/target/$1
rm -rf "$out"
mkdir -p "$out"
# Users of their own must get in.
work=$(mktemp -d)
chmod 755 "$work"
# What the surrounding machine may have set.
unset APP_ENV BETTER_AUTH_SECRET BETTER_AUTH_SECRETS BETTER_AUTH_URL CORS_ALLOWED_ORIGINS DATABASE_URL GATEWAY_CONFIG NODE_ENV PORT
export NEXT_TELEMETRY_DISABLED=1 BETTER_AUTH_TELEMETRY=0 USHER_DATA_DIR=$work/data
# Settings for `usher`: a slow machine is not what is checked.
# shellcheck disable=SC2034 # It is for those who source this.
slow=(GATEWAY_VERIFIER__CONNECT_MS=10000 GATEWAY_VERIFIER__TIMEOUT_MS=20000 AUTH_VERIFIER_SESSION__TIMEOUT_MS=20000)

started=()
# What is started reads from here, which ends with this script.
mkfifo "$work/open"
exec {open}<>"$work/open"
# start NAME COMMAND…: in the background, with a process group of its own
start() {
    setsid "${@:2}" <"$work/open" {open}>&- >"$out/$1.log" 2>&1 &
    started+=($!)
}
# await NAME LINE: until the log of what was started last has such a line
await() {
    # Five minutes and more.
    for _ in $(seq 3000); do
        ! grep --quiet "$2" "$out/$1.log" || return 0
        kill -0 "${started[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    echo "$1 did not come up:"
    cat "$out/$1.log"
    exit 1
}
# end: what was started last
end() {
    # PostgreSQL ends with what it reads.
    if [ "${started[-1]}" = "${postgres:-}" ]; then
        exec {open}>&-
    else
        kill -TERM -- "-${started[-1]}" 2>/dev/null || true
    fi
    wait "${started[-1]}" 2>/dev/null || true
    unset 'started[-1]'
}
# interrupt NAME: ends what was started last as Ctrl-C does, and holds that it says nothing is wrong, and leaves nothing behind
interrupt() {
    local status=0
    kill -INT -- "-${started[-1]}"
    wait "${started[-1]}" || status=$?
    unset 'started[-1]'
    [ "$status" = 0 ] || { echo "Ctrl-C: exit code $status"; cat "$out/$1.log"; exit 1; }
    ! pgrep --full "$USHER_DATA_DIR" || { echo 'Something of it still runs'; exit 1; }
}
trap 'while [ "${#started[@]}" -gt 0 ]; do end; done; rm -rf "$work"' EXIT

# usher NAME [VARIABLE=VALUE…] [-- ARGUMENT…]: `cargo run`, until it prints its addresses
usher() {
    local name=$1 variables=()
    shift
    while [ "$#" -gt 0 ] && [ "$1" != -- ]; do
        variables+=("$1")
        shift
    done
    # What is waited for is the start, and not the compiler.
    cargo build --quiet --locked
    start "$name" env "${variables[@]}" cargo run "$@"
    await "$name" '^curl http'
}
# database: a PostgreSQL, as DATABASE_URL
database() {
    # With `usher`: alone it would ask its dependencies for other features, and have them compiled once more.
    cargo build --quiet --locked --package usher --package dev-postgres
    start postgres target/debug/dev-postgres "$work/postgres" app
    postgres=${started[-1]}
    await postgres '^postgresql:'
    DATABASE_URL=$(grep '^postgresql:' "$out/postgres.log")
    export DATABASE_URL
    # It has the password.
    rm "$out/postgres.log"
}
# browser: Chromium, and the npm packages of dev/browser, unless they are there already
browser() {
    if ! command -v chromium >/dev/null; then
        local root=()
        [ "$(id -u)" = 0 ] || root=(sudo)
        "${root[@]}" apt-get update -qq
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium >/dev/null
    fi
    local installed=dev/browser/node_modules/installed.json
    cmp --quiet dev/browser/package-lock.json "$installed" || {
        npm ci --prefix dev/browser --ignore-scripts --no-audit --no-fund --loglevel=error
        cp dev/browser/package-lock.json "$installed"
    }
}
