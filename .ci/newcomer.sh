#!/usr/bin/env bash
# Does what a newcomer does: `cargo run` in a folder that has never been run in, the three printed curl lines, the
# same again after a restart, Ctrl-C. Says what it saw; fails with the log if anything is not as promised.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
chmod 755 "$work"
log=$work/log
export USHER_DATA_DIR=$work/data
run=

fail() {
    echo "newcomer: $1"
    [ -f "$log" ] && cat "$log"
    exit 1
}
stop() {
    [ -z "$run" ] || kill -KILL "$run" 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

# Built before, so that what is waited for below is the start and not the compiler.
cargo build --quiet
start() {
    : >"$log"
    # A session of its own: signals meant for it reach nobody else. Unset what the surrounding machine may have set.
    env -u DATABASE_URL -u BETTER_AUTH_SECRET -u BETTER_AUTH_URL -u PORT setsid cargo run >"$log" 2>&1 &
    run=$!
    for _ in $(seq 600); do
        grep --quiet '^curl http' "$log" && return
        kill -0 "$run" 2>/dev/null || fail 'cargo run ended by itself'
        sleep 0.1
    done
    fail 'cargo run did not come up in a minute'
}
curls() {
    grep '^curl ' "$log" >"$work/curls"
    [ "$(wc -l <"$work/curls")" = 3 ] || fail 'there are not three curl lines'
    while read -r line; do
        sed 's/^/$ /; s/Bearer [^"]*/Bearer …/' <<<"$line"
        answer=$(bash -c "${line/curl/curl --silent --show-error --fail --max-time 20}" </dev/null) || fail "it failed: $line"
        echo "$answer" | cut -c-200
        answers+="$answer"$'\n'
    done <"$work/curls"
}
rights() {
    # `cargo run` becomes the launcher, whose children they are.
    services=$(ps --ppid "$run" -o uid=,args= | grep -e '--until-stdin-closes') || fail 'there are no services'
    [ "$(wc -l <<<"$services")" = 3 ] || fail "there are not three services: $services"
    [ "$(id -u)" != 0 ] || ! grep --quiet '^ *0 ' <<<"$services" || fail "a service runs as root: $services"
}
calm() {
    ! grep --extended-regexp '"level":"(WARN|ERROR)"|^[^{]*(WARN|ERROR)' "$log" || fail 'a healthy first start warns of something'
}
interrupt() {
    # As a terminal does: to the whole foreground group.
    kill -INT -- "-$(ps -o pgid= -p "$run" | tr -d ' ')"
    status=0
    wait "$run" || status=$?
    run=
    [ "$status" = 0 ] || fail "Ctrl-C: exit code $status"
    ! pgrep --full "$work/data" >/dev/null || fail 'something of it still runs'
}

start
answers=
curls
rights
grep --quiet '"title":"Buy milk"' <<<"$answers" || fail 'the task is not in the answers'
grep --quiet '"status":"healthy"' <<<"$answers" || fail 'it is not healthy'
interrupt
calm

start
answers=
curls >/dev/null
[ "$(grep --only-matching '"title":"Buy milk"' <<<"$answers" | wc -l)" -ge 3 ] || fail 'the task was gone after a restart'
interrupt
echo 'newcomer: everything was as promised'
