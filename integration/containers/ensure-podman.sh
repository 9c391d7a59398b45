#!/usr/bin/env bash
# ensure-podman.sh - a Podman service on a socket, for tests, on a Debian/Ubuntu machine without systemd. Prints the socket.
#
#   ensure-podman.sh            installs podman and catatonit (its init) if missing, starts the service, waits
#   ensure-podman.sh --check    exit 0 when a service answers there, 1 otherwise; changes nothing
#   ensure-podman.sh stop       ends the service that this script started
# Everything lives in ${PODMAN_DIR:-$HOME/.cache/hangar-podman}: images, containers, socket.
#
# Podman gives containers limits of 1048576 open files and 4194304 processes. Where the hard limits of this machine are lower
# and may not be raised, no container starts ("error setting rlimit type 7: operation not permitted"); so they are set to
# what there is.
set -euo pipefail
D="${PODMAN_DIR:-$HOME/.cache/hangar-podman}"; SOCK="$D/podman.sock"
say()     { printf 'ensure-podman: %s\n' "$*" >&2; }
answers() { curl -fsS -m 5 --unix-socket "$SOCK" http://d/_ping >/dev/null 2>&1; }
alive()   { [ -s "$D/pid" ] && [ "$(cat "/proc/$(cat "$D/pid")/comm" 2>/dev/null)" = podman ]; }

if [ "${1:-}" = stop ]; then if alive; then kill "$(cat "$D/pid")"; fi; rm -f "$D/pid" "$SOCK"; exit 0; fi
if answers; then echo "$SOCK"; exit 0; fi
[ "${1:-}" = --check ] && exit 1

mkdir -p "$D"
exec 9>"$D/lock"; flock -w 600 9
if answers; then echo "$SOCK"; exit 0; fi
if ! command -v podman >/dev/null || ! [ -e /usr/libexec/podman/catatonit ] && ! command -v catatonit >/dev/null; then
    say "installing podman"
    export DEBIAN_FRONTEND=noninteractive
    SUDO=(); [ "$(id -u)" = 0 ] || SUDO=(sudo -n)
    "${SUDO[@]}" apt-get update -qq
    "${SUDO[@]}" apt-get install -y -qq --no-install-recommends podman catatonit >/dev/null
fi
# The service lowers its own limit of processes to kernel.pid_max, and that of a container may not be higher then.
PIDS=$(cat /proc/sys/kernel/pid_max)
limit() { local hard; hard=$(ulimit -H "$1"); [ "$hard" = unlimited ] && hard=$2; [ "$hard" -lt "$2" ] || hard=$2; echo "$hard"; }
cat >"$D/containers.conf" <<C
[containers]
default_ulimits = ["nofile=$(limit -n 1048576):$(limit -n 1048576)", "nproc=$(limit -u "$PIDS"):$(limit -u "$PIDS")"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
C
# The throw-away registries of the tests speak plain HTTP.
for port in 5055 5057; do printf '[[registry]]\nlocation = "127.0.0.1:%s"\ninsecure = true\n' "$port"; done >"$D/registries.conf"
rm -f "$SOCK"
CONTAINERS_REGISTRIES_CONF="$D/registries.conf" CONTAINERS_CONF="$D/containers.conf" setsid nohup podman --root "$D/storage" --runroot "$D/run" \
    system service --time 0 "unix://$SOCK" </dev/null >"$D/log" 2>&1 9>&- &
echo $! >"$D/pid"
for _ in $(seq 100); do
    if answers; then echo "$SOCK"; exit 0; fi
    if ! alive; then say "the service exited"; break; fi
    sleep 0.1
done
tail -n 20 "$D/log" >&2
exit 1
