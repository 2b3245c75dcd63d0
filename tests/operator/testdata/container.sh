#!/usr/bin/env bash
# Does with the Containerfile what a container engine does, as far as the broker can tell: a read-only root of its COPY
# lines, its user, environment and working directory, and a network of its own. The root has no shell:
# container.sh <directory> <what the archive holds> <processor>
set -euo pipefail

dir=$1 context=$2 processor=$3
root=$dir/root
fail() { echo "FAILED: $*" >&2; exit 1; }
line() { sed -n "s/^$1 //p" "$context/Containerfile"; }

mount -t tmpfs -o size=512m tmpfs "$dir"
mkdir "$root"
while read -r from to; do
	owner=
	case $from in --chown=*) owner=${from#--chown=} from=${to% *} to=${to#* } ;; esac
	from=${from/'${TARGETARCH}'/$processor}
	mkdir -p "$root$(dirname "$to")"
	cp -rT "$context/$from" "$root$to"
	[ -z "$owner" ] || chown "$owner" "$root$to"
done < <(line COPY)
user=$(line USER)
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
! touch "$root/file" 2>/dev/null || fail "the root is not read-only"
mount -t tmpfs -o "uid=${user%:*},mode=0700" tmpfs "$root/run/claudemesh"
mount -t tmpfs -o "uid=${user%:*},mode=0700" tmpfs "$root/data"

ip link set lo up
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
words() { line "$1" | tr -d '[],"'; }
caddy() { # takes the place of the shell
	exec env -i $(line ENV) CLAUDEMESH_SITE=https://localhost setpriv --no-new-privs \
		unshare --root="$root" --wd="$(line WORKDIR)" --setgid="${user#*:}" --setuid="${user%:*}" "$(words ENTRYPOINT)" "$@"
}
health=$(sed -n 's/^HEALTHCHECK .*CMD //p' "$context/Containerfile" | tr -d '[],"')
[ "${health%% *}" = "$(words ENTRYPOINT)" ] || fail "the health check runs $health"

caddy $(words CMD) >"$dir/log" 2>&1 &
pid=$!
until (caddy ${health#* }) >"$dir/health" 2>&1; do
	kill -0 $pid 2>/dev/null || { cat "$dir/log" "$dir/health" >&2; fail "the broker ended"; }
	sleep 0.1
done
[ "$(ps -o uid= -p $pid | tr -d ' ')" = "${user%:*}" ] || fail "the broker runs as $(ps -o uid= -p $pid)"
for port in 80 443; do
	(exec 3<>/dev/tcp/127.0.0.1/$port) || fail "nobody listens on port $port"
done
[ -s "$root/data/caddy/claudemesh/claudemesh.db" ] || fail "no database in /data"
kill $pid
wait $pid || { cat "$dir/log" >&2; fail "the broker did not end well"; }
! (caddy ${health#* }) >/dev/null 2>&1 || fail "a broker that ended is healthy"
echo "== well"
