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
    # Under cgroup v2 a group hands no controllers on while it has processes itself, but for the machine's root (which has no
    # cgroup.type). So in a container, whose root is a group like any other, what runs goes one down, as in moby's hack/dind.
    # Here, because a PID namespace would hide the processes outside of it.
    if [ -e /sys/fs/cgroup/cgroup.type ]; then
        mkdir -p /sys/fs/cgroup/init
        while read -r process; do
            # It may have ended meanwhile. What else goes wrong shows in the next step.
            echo "$process" 2>/dev/null >/sys/fs/cgroup/init/cgroup.procs || true
        done < <(cat /sys/fs/cgroup/cgroup.procs)
        sed 's/[^ ]\+/+&/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
    fi
    ENGINE_NAMESPACES=$folder exec unshare --net --mount --propagation private --pid --fork --kill-child=KILL --mount-proc \
        "$0" "$folder" "$@"
fi
unset ENGINE_NAMESPACES

# containerd and runc write here whatever they are told; outside of the namespaces nothing of it shows.
mount -t tmpfs -o mode=755 tmpfs /run
made=()
[ -d /opt/containerd ] || made=(/opt/containerd)
mkdir -p /opt/containerd
mount -t tmpfs -o mode=711 tmpfs /opt/containerd

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
    --pidfile "$folder/run/pid" --host "$DOCKER_HOST" --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "$group" \
    >"$folder/engine.log" 2>&1 9>&- &
engine=$!

stop() {
    kill "$engine" 2>/dev/null || true
    wait "$engine" 2>/dev/null || true
    # What it made outside of its namespaces: groups (one in v2, one for each controller in v1), and a folder.
    local groups
    for groups in /sys/fs/cgroup"$group" /sys/fs/cgroup/*"$group"; do
        [ ! -d "$groups" ] || find "$groups" -depth -type d -delete || echo "engine: $groups stays"
    done
    [ "${#made[@]}" = 0 ] || { LD_LIBRARY_PATH='' umount /opt/containerd && rmdir "${made[@]}"; } || echo "engine: ${made[*]} stays"
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
