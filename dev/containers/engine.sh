#!/usr/bin/env bash
# Runs a command beside a container engine of its own, and ends both:
#
#     dev/containers/engine.sh FOLDER COMMAND…
#
# FOLDER holds the engine's programs (programs/, see programs.sh) and keeps its images (images/) for the next run. The engine
# lives in namespaces of its own: its mounts, its processes, its bridges and its firewall are gone when the command has ended,
# however it ends. It has no way out: nothing is fetched, and a port that it publishes is reached from COMMAND alone.
set -euo pipefail
folder=$(realpath "$1")
shift
if [ "${ENGINE_NAMESPACES:-}" != "$folder" ]; then
    ENGINE_NAMESPACES=$folder exec unshare --net --mount --propagation private --pid --fork --kill-child=KILL --mount-proc \
        "$0" "$folder" "$@"
fi
unset ENGINE_NAMESPACES

programs=$folder/programs
export PATH="$programs/own:$programs/usr/bin:$programs/usr/sbin:$PATH"
LD_LIBRARY_PATH=$programs/usr/lib/$(uname -m)-linux-gnu
export LD_LIBRARY_PATH
export XTABLES_LIBDIR=$LD_LIBRARY_PATH/xtables
export DOCKER_CONFIG=$programs/config DOCKER_HOST=unix://$folder/run/engine.sock
ip link set lo up
# One engine at a time for one folder.
exec 9>"$folder/lock"
flock 9
rm -rf "$folder/run"
mkdir -p "$folder/run"
# What a build leaves for the next one is several GB, more than is kept by default.
echo '{"builder": {"gc": {"enabled": true, "defaultKeepStorage": "30GB"}}}' >"$folder/run/engine.json"
group=/usher-engine-$RANDOM$RANDOM
dockerd --config-file "$folder/run/engine.json" --data-root "$folder/images" --exec-root "$folder/run" \
    --pidfile "$folder/run/pid" --host "$DOCKER_HOST" --cgroup-parent "$group" >"$folder/engine.log" 2>&1 9>&- &
engine=$!

stop() {
    kill "$engine" 2>/dev/null || true
    wait "$engine" 2>/dev/null || true
    # What it made outside of its namespaces.
    find /sys/fs/cgroup -mindepth 1 -maxdepth 3 -type d -path "*$group" -exec find {} -depth -type d -exec rmdir {} + \; 2>/dev/null || true
}
trap stop EXIT
for _ in $(seq 300); do
    ! docker version >/dev/null 2>&1 || break
    kill -0 "$engine" 2>/dev/null || { tail -n 20 "$folder/engine.log"; echo 'engine: it did not start'; exit 1; }
    sleep 0.1
done
docker version >/dev/null
status=0
"$@" 9>&- || status=$?
exit "$status"
