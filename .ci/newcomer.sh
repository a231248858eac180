#!/usr/bin/env bash
# Does what a newcomer does: `cargo run` in a folder that has never been run in, the three printed curl lines, the
# same again after a restart, Ctrl-C. Says what it saw; fails with the log if anything is not as promised.
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/services.sh newcomer
log=$out/usher.log

fail() {
    echo "newcomer: $1"
    cat "$log"
    exit 1
}
curls() {
    grep '^curl ' "$log" >"$work/curls"
    [ "$(wc -l <"$work/curls")" = 3 ] || fail 'there are not three curl lines'
    while read -r line; do
        sed 's/^/$ /; s/Bearer [^"]*/Bearer …/' <<<"$line"
        answer=$(bash -c "${line/curl/curl --silent --show-error --fail --max-time 60}" </dev/null) || fail "it failed: $line"
        echo "$answer" | cut -c-200
        answers+="$answer"$'\n'
    done <"$work/curls"
}
rights() {
    # `cargo run` becomes the launcher, whose children they are.
    services=$(ps --ppid "${started[-1]}" -o uid=,args= | grep -e '--until-stdin-closes') || fail 'there are no services'
    [ "$(wc -l <<<"$services")" = 3 ] || fail "there are not three services: $services"
    [ "$(id -u)" != 0 ] || ! grep --quiet '^ *0 ' <<<"$services" || fail "a service runs as root: $services"
}
calm() {
    ! grep --extended-regexp '"level":"(WARN|ERROR)"|^[^{]*(WARN|ERROR)' "$log" || fail 'a healthy first start warns of something'
}

usher usher "${slow[@]}"
answers=
curls
rights
grep --quiet '"title":"Buy milk"' <<<"$answers" || fail 'the task is not in the answers'
grep --quiet '"status":"healthy"' <<<"$answers" || fail 'it is not healthy'
interrupt usher
calm

usher usher "${slow[@]}"
answers=
curls >/dev/null
[ "$(grep --only-matching '"title":"Buy milk"' <<<"$answers" | wc -l)" -ge 3 ] || fail 'the task was gone after a restart'
interrupt usher
echo 'newcomer: everything was as promised'
