#!/usr/bin/env bash
# Writes the licence texts of everything that the program of one package contains:
#
#     deploy/licenses.sh PACKAGE FOLDER        as in: deploy/licenses.sh gateway /image/gateway/licenses
#
#     FOLDER/LICENSE…              Usher's own
#     FOLDER/THIRD-PARTY.txt       its crates, with the C code that they bring along: which there are, and each text once
#     FOLDER/rust/                 Rust's standard library
#     FOLDER/debian/               the C library and libgcc, which the images carry beside the program
#     FOLDER/sbom.cdx.json         all of these, as CycloneDX, for scanners: a Rust program doesn't tell them itself
#
# The crates are the normal dependencies for the target (CARGO_BUILD_TARGET, else this machine's), features as `cargo
# build --package PACKAGE` has them; without proc macros, build scripts and tests, none of which is in the program. Their
# texts are read from where cargo has unpacked them (or from a vendored folder). `cargo metadata` wants the crates of all
# packages for that: where there is no network, `cargo fetch --locked` or `cargo vendor` has to have been run before.
# Otherwise it needs bash, and Debian's coreutils, findutils, grep, sed, awk and dpkg. The same tree gives the same bytes.
#
# A crate without a text ends it with exit code 1, and FOLDER isn't written; it must not be there yet.
set -euo pipefail
export LC_ALL=C
[ $# = 2 ] || { echo 'usage: deploy/licenses.sh PACKAGE FOLDER' >&2; exit 2; }
package=$1 folder=$2
root=$(cd "$(dirname "$0")/.." && pwd)
fail() { echo "deploy/licenses.sh: $1" >&2; exit 1; }
[ ! -e "$folder" ] || fail "$folder is there already"

# Published without a text; it stands in another crate of the same authors, repository and licence. OpenTelemetry's is Apache-2.0
# as it is, with nobody named in it; so is prost's.
declare -A text_of=(
    [opentelemetry]=prost
    [opentelemetry-proto]=prost
    [opentelemetry_sdk]=prost
    [tonic-prost]=tonic
)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$work/out
mkdir -p "$out/rust" "$out/debian" "$work/texts" "$work/crates"

# Where each crate stands: "name version folder".
target=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
cargo metadata --locked --format-version 1 --filter-platform "$target" --manifest-path "$root/Cargo.toml" \
    | grep --only-matching --extended-regexp '\{"name":"[^"]*","version":"[^"]*"|"manifest_path":"[^"]*"' \
    | sed --regexp-extended 's/^\{"name":"(.*)","version":"(.*)"$/\1 \2/; s/^"manifest_path":"(.*)\/Cargo.toml"$/\1/' \
    | paste --delimiters=' ' - - >"$work/folders"

# What is linked: "name version|licence". Crates of this workspace are followed by their folder, in brackets.
cargo tree --locked --manifest-path "$root/Cargo.toml" --package "$package" --target "$target" \
    --edges normal,no-proc-macro --prefix none --no-dedupe --format '{p}|{l}' >"$work/tree"
sed --regexp-extended '/ \(\//d; s/^([^ ]+) v([^ |]+)[^|]*\|/\1 \2|/' "$work/tree" | sort --unique >"$work/linked"
[ -s "$work/linked" ] || fail "$package has no dependency"

folder_of() { awk -v name="$1" -v version="$2" '$1 == name && (version == "" || $2 == version) { print $3; exit }' "$work/folders"; }
texts_in() {
    find "$1" -type f \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'copyright*' -o -iname 'notice*' \
        -o -iname 'unlicen[sc]e*' \) ! -iname '*.rs' ! -iname '*.h' ! -iname '*.c' | sort
}
while IFS='|' read -r crate licence; do
    read -r name version <<<"$crate"
    source=$(folder_of "$name" "$version")
    [ -n "$source" ] || fail "cargo doesn't say where $name $version stands"
    texts=$(texts_in "$source")
    if [ -z "$texts" ] && [ -n "${text_of[$name]:-}" ]; then
        texts=$(texts_in "$(folder_of "${text_of[$name]}" '')")
    fi
    [ -n "$texts" ] || fail "$name $version ($licence) has no licence text: add it to text_of, with where its text stands"
    while read -r text; do
        # Texts that differ in nothing but the ends of lines are one.
        sed 's/[[:space:]]*$//' "$text" >"$work/text"
        sum=$(sha256sum <"$work/text" | cut -c -64)
        cp "$work/text" "$work/texts/$sum"
        echo "$crate" >>"$work/crates/$sum"
    done <<<"$texts"
done <"$work/linked"

rule=$(printf '=%.0s' {1..80})
{
    echo "The program $package contains the following crates. Their licence texts follow, each once."
    echo
    sed 's/|/: /; s/^/    /' "$work/linked"
    # The order of the first crate that each covers.
    for sum in $(grep --max-count=1 '' "$work"/crates/* | sed 's|.*/||' | sort --field-separator=: --key=2 --key=1 | cut -d: -f1); do
        printf '\n%s\n' "$rule"
        sort --unique "$work/crates/$sum"
        printf '%s\n\n' "$rule"
        cat "$work/texts/$sum"
    done
} >"$out/THIRD-PARTY.txt"

cp "$root"/LICENSE* "$out/"
cp "$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html" "$out/rust/" || fail "Rust's own notices are missing"
for library in libc6 libgcc-s1; do
    cp "/usr/share/doc/$library/copyright" "$out/debian/$library" || fail "Debian's copyright file of $library is missing"
done
# The texts that those two name.
cp /usr/share/common-licenses/{LGPL-2.1,GPL-3} "$out/debian/"

# Licences as SPDX has them: the slash is how crates once wrote OR. In a purl, `+` is escaped.
component() { printf '{"type":"library","name":"%s","version":"%s","purl":"%s"%s}' "$1" "$2" "${3//+/%2B}" "${4:-}"; }
{
    printf '{"bomFormat":"CycloneDX","specVersion":"1.5","version":1,'
    printf '"metadata":{"component":{"type":"application","name":"%s","version":"%s"}},"components":[\n' \
        "$package" "$(awk -v name="$package" '$1 == name { print $2; exit }' "$work/folders")"
    while IFS='|' read -r crate licence; do
        read -r name version <<<"$crate"
        licence=$(sed --regexp-extended 's| */ *| OR |g' <<<"$licence")
        component "$name" "$version" "pkg:cargo/$name@$version" ",\"licenses\":[{\"expression\":\"$licence\"}]"
        echo ,
    done <"$work/linked"
    distribution=$(. /etc/os-release && echo "$ID-${VERSION_ID:-}")
    for library in libc6 libgcc-s1; do
        version=$(dpkg-query --show --showformat '${Version}' "$library")
        component "$library" "$version" "pkg:deb/debian/$library@$version?distro=$distribution"
        echo ,
    done
    component rust-std "$(rustc --version | cut -d' ' -f2)" "pkg:generic/rust-std@$(rustc --version | cut -d' ' -f2)"
    printf '\n]}\n'
} >"$out/sbom.cdx.json"

chmod -R a+rX,u+w "$out"
mkdir -p "$(dirname "$folder")"
cp -R "$out" "$folder"
echo "$package: $(wc -l <"$work/linked") crates, $(find "$work/texts" -type f | wc -l) licence texts"
