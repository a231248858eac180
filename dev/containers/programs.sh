#!/usr/bin/env bash
# Lays a container engine into a folder, without installing it: `dev/containers/programs.sh FOLDER` makes FOLDER/programs of
# Debian's packages. The engine, its client and Compose are Debian 13's; what has to fit this machine's C library is its own.
set -euo pipefail
folder=$(realpath "$1")
[ ! -e "$folder/programs/complete" ] || exit 0
new=$folder/programs.new
rm -rf "$new" "$folder/programs"
mkdir -p "$new/lists/partial" "$new/cache/archives/partial" "$new/packages" "$new/own"

keys=/usr/share/keyrings/debian-archive-keyring.gpg
# From wherever this machine has its packages.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' \
    | grep --invert-match security | head -n 1)
echo "$mirror" >"$new/mirror"
echo "deb [signed-by=$keys] $mirror trixie main" >"$new/sources.list"
trixie=(-o "Dir::Etc::sourcelist=$new/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$new/lists" -o "Dir::Cache=$new/cache")
get=(apt-get -qq -o APT::Sandbox::User=)
cd "$new/packages"
"${get[@]}" update
"${get[@]}" "${trixie[@]}" update
"${get[@]}" "${trixie[@]}" download docker.io docker-cli docker-buildx docker-compose containerd tini
"${get[@]}" download runc libseccomp2 debootstrap \
    iptables libip4tc2 libip6tc2 libxtables12 libnfnetlink0 libnetfilter-conntrack3 libnftnl11 libmnl0
for package in *.deb; do dpkg --extract "$package" "$new"; done
cd "$new"
rm -r packages lists cache
for tool in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -s ../usr/sbin/xtables-nft-multi "own/$tool"
done
mkdir -p config
ln -s ../usr/libexec/docker/cli-plugins config/cli-plugins
touch complete
mv "$new" "$folder/programs"
