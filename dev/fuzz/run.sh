#!/usr/bin/env bash
# Fuzzes what the services read, each for FUZZ_SECS seconds (20), as many at once as there are processors; all of
# them, or those that are named. Fails with the input that broke one, in base64. A change is not to fail by chance: inputs
# follow from FUZZ_SEED (1). Needs a C++ compiler, and no nightly: the flags are those of `cargo fuzz --sanitizer none`.
# `readers` needs Python and Node.js, too.
set -euo pipefail
cd "$(dirname "$0")"

host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=$PWD/../../target/fuzz RUST_BACKTRACE=0
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
    cargo build --quiet --locked --bins --target "$host"
bin=$CARGO_TARGET_DIR/$host/debug

fuzz() {
    local target=$1 log=$CARGO_TARGET_DIR/$1.log dict=json.dict
    case $target in heads | readers) dict=heads.dict ;; esac
    rm -rf "artifacts/$target" && mkdir -p "artifacts/$target"
    # A worker's stack: what follows its input falls here, too.
    ulimit -s 2048
    if "$bin/$target" -max_total_time="${FUZZ_SECS:-20}" -seed="${FUZZ_SEED:-1}" -timeout=60 -max_len=70000 -print_final_stats=1 \
        -dict="$dict" -artifact_prefix="artifacts/$target/" "corpus/$target" >"$log" 2>&1; then
        printf '%-14s %s\n' "$target" "$(sed -n 's/^Done \(.*\)/\1/p' "$log")"
    else
        tail -n 40 "$log"
        for input in "artifacts/$target"/*; do
            printf '%s broke on %s, in base64:\n' "$target" "$input"
            base64 -w 0 "$input"
            echo
        done
        return 1
    fi
}
export -f fuzz
export bin

[ "$#" -gt 0 ] || set -- heads readers bodies lists verdict claims cookies cache_compact cache_jwt cache_jwe keys
if [[ " $* " == *' readers '* ]]; then
    READERS_PYTHON=$(../../.ci/pip.sh h11)/python3
    READERS_LLHTTP=$CARGO_TARGET_DIR/readers
    if ! cmp --quiet readers/package-lock.json "$READERS_LLHTTP/installed.json"; then
        rm -rf "$READERS_LLHTTP" && mkdir -p "$READERS_LLHTTP"
        cp readers/package.json readers/package-lock.json "$READERS_LLHTTP"
        (cd "$READERS_LLHTTP" && npm ci --ignore-scripts --no-audit --no-fund --silent)
        cp readers/package-lock.json "$READERS_LLHTTP/installed.json"
    fi
    export READERS_PYTHON READERS_LLHTTP
fi
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -euo pipefail -c 'fuzz {}'
