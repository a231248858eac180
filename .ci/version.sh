#!/usr/bin/env bash
# One version everywhere: it stands in Cargo.toml, and what else names one agrees with it.
#
#     .ci/version.sh             checks the packages, the images that deploy/ names, Rust, and the changelog
#     .ci/version.sh v0.1.0      and that the changelog has it, so that it may be released under this tag
set -euo pipefail
cd "$(dirname "$0")/.."
wrong=0
wrong() { echo "$1" >&2; wrong=1; }

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || wrong "Cargo.toml: [workspace.package] has no version like 1.2.3, but '$version'"

for manifest in */Cargo.toml dev/*/Cargo.toml; do
    [ "$manifest" = dev/fuzz/Cargo.toml ] || grep --quiet '^version.workspace = true$' "$manifest" \
        || wrong "$manifest: expected version.workspace = true"
done

# Images of ours, as in `usher/gateway:1.2.3` and `${…:-1.2.3}` (`dev` is one that was built here); and each `newTag` of
# kustomize's lists of images.
services='(gateway|auth-verifier|task-service)'
images() {
    grep --recursive --include='*.y*ml' --include='*.md' --include=Dockerfile --line-number --only-matching \
        --extended-regexp "[a-z0-9}][/-]$services:[^]\" ',@]+" deploy README.md \
        | sed --regexp-extended 's/^([^:]+:[^:]+):[^:]*:/\1:/; s/\$\{[A-Z_]+:-([^}]*)\}/\1/' || true
    find deploy -name 'kustomization.y*ml' -print0 | xargs --null --no-run-if-empty awk -v services="$services\$" '
        function flush() { if (ours && tag != "") print tag; ours = 0; tag = "" }
        FNR == 1 || /^ *- / { flush() }
        { gsub(/["{},]/, " ") }
        { for (i = 1; i < NF; i++) if ($i == "name:" || $i == "newName:") ours = ours || $(i + 1) ~ services }
        { for (i = 1; i < NF; i++) if ($i == "newTag:") tag = FILENAME ":" FNR ":" $(i + 1) }
        END { flush() }
    '
}
named=$(images)
while IFS=: read -r file line tag; do
    [ -z "$file" ] || [ "$tag" = "$version" ] || [ "$tag" = dev ] || wrong "$file:$line: an image of version $tag, but Cargo.toml has $version"
done <<<"$named"

# And one Rust: the oldest that will do is what images are built with, and what the workflow tests.
rust=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
grep --quiet "^ARG RUST=rust:$rust-" deploy/Dockerfile || wrong "deploy/Dockerfile: expected ARG RUST=rust:$rust-…, as Cargo.toml has it"
grep --quiet "^      image: rust:$rust-" .github/workflows/ci.yaml || wrong ".github/workflows/ci.yaml: expected image: rust:$rust-…"
grep --quiet "RUSTUP_TOOLCHAIN: \"$rust\." .github/workflows/ci.yaml || wrong ".github/workflows/ci.yaml: expected RUSTUP_TOOLCHAIN: \"$rust.0\""

mapfile -t heads < <(sed -n 's/^## //p' CHANGELOG.md)
[ "${heads[0]}" = Unreleased ] || wrong "CHANGELOG.md: the first version is '${heads[0]}', expected Unreleased"
released=${heads[1]-}
if [ -n "$released" ]; then
    [[ $released =~ ^([0-9.]+)\ -\ [0-9]{4}-[0-9]{2}-[0-9]{2}$ ]] \
        || wrong "CHANGELOG.md: the second is '$released', expected one like 1.2.3 - 2026-01-31"
    [ "${released%% *}" = "$version" ] || wrong "CHANGELOG.md: the last release is $released, but Cargo.toml has $version"
fi

if [ $# -gt 0 ]; then
    [ "$1" = "v$version" ] || wrong "the tag is $1, but Cargo.toml has $version"
    [ -n "$released" ] || wrong "CHANGELOG.md: there is no release yet"
fi
[ "$wrong" = 0 ] || exit 1
echo "Version $version"
