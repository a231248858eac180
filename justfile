# What CI checks, this checks.
check:
    bash .ci/run

# Everything on this machine, until Ctrl-C.
run:
    cargo run

# The quick part of `check`.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Instructions per request of each service, held to a bound.
instructions:
    dev/bench/run.sh instructions
