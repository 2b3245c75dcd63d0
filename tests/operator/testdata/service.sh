#!/usr/bin/env bash
# Boots systemd in a throw-away copy of this machine's root, with nothing of this machine's services, and installs the
# broker there: service.sh <directory> <broker.deb> <newer.deb>. Inside, service.sh itself is the service that tries the broker.
set -euo pipefail

fail() { echo "FAILED: $*" >&2; exit 1; }

boot() { # takes the place of the shell, which is process 1 of a process namespace
	local root=$1/root device
	mount -t proc proc "$root/proc"
	mount -t sysfs sysfs "$root/sys"
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
	mount -t tmpfs tmpfs "$root/dev"
	mkdir "$root/dev/shm" "$root/dev/pts"
	for device in null zero full random urandom tty; do
		touch "$root/dev/$device"
		mount --bind "/dev/$device" "$root/dev/$device"
	done
	ln -s /proc/self/fd "$root/dev/fd"
	mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
	ln -s pts/ptmx "$root/dev/ptmx"
	mount -t tmpfs tmpfs "$root/run"
	mount -t tmpfs tmpfs "$root/tmp"
	mkdir "$root/tmp/try"
	mount --bind "$1/try" "$root/tmp/try"
	ip link set lo up
	exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin unshare --root="$root" --wd=/ \
		/usr/lib/systemd/systemd --system --unit=try.service --log-target=null --show-status=0 </dev/null
}

try() { # runs in the booted root
	cd /tmp/try
	export DEBIAN_FRONTEND=noninteractive
	local unit=claudemesh-broker.service pid
	show() { systemctl show --property="$1" --value $unit; }
	dpkg -i broker.deb </dev/null
	# systemctl start waits for Type=notify, so the broker has said that it is ready.
	[ "$(systemctl is-active $unit)" = active ] || { journalctl -u $unit; fail "the service is $(systemctl is-active $unit)"; }
	claudemesh-broker health
	pid=$(show MainPID)
	grep -q "^Uid:	$(id -u claudemesh)	" "/proc/$pid/status" || fail "the user of the service"
	grep -q '^CapEff:	0000000000000400$' "/proc/$pid/status" || fail "more capabilities than CAP_NET_BIND_SERVICE"
	grep -q '^Seccomp:	2$' "/proc/$pid/status" || fail "no filter for system calls"

	dpkg -i newer.deb </dev/null
	[ "$(show MainPID)" != "$pid" ] || fail "the upgrade left the old broker running"
	[ "$(systemctl is-active $unit)" = active ] || { journalctl -u $unit; fail "after the upgrade the service is $(systemctl is-active $unit)"; }
	claudemesh-broker health
	pid=$(show MainPID)

	echo 'CLAUDEMESH_SITE=https://localhost' >>/etc/claudemesh/environment
	systemctl reload $unit
	[ "$(show MainPID)" = "$pid" ] || fail "the reload restarted the broker"
	(exec 3<>/dev/tcp/127.0.0.1/443) || fail "nobody listens on port 443 after the reload"
	claudemesh-broker storage | grep -q 'SQLite database /var/lib/claudemesh/' || fail "the storage"

	kill -KILL "$pid"
	until [ "$(show MainPID)" != "$pid" ] && [ "$(systemctl is-active $unit)" = active ]; do sleep 0.1; done
	claudemesh-broker health

	dpkg --purge claudemesh-broker
	[ "$(systemctl is-active $unit)" = inactive ] || fail "the service runs after purge"
	echo "== well"
}

case $1 in
boot) boot "$2" ;;
try) try ;;
*)
	dir=$1
	mount -t tmpfs -o size=2g tmpfs "$dir"
	mkdir "$dir/upper" "$dir/work" "$dir/root" "$dir/try"
	mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
	cp "$2" "$dir/try/broker.deb"
	cp "$3" "$dir/try/newer.deb"
	cp "$0" "$dir/try/service.sh"
	etc=$dir/root/etc
	rm -rf "$etc"/systemd/system/*.wants "$dir/root/usr/sbin/policy-rc.d"
	: >"$etc/fstab"
	# Not empty: systemd would enable services, as at the first boot.
	printf '%032x\n' 1 >"$etc/machine-id"
	cat >"$etc/systemd/system/try.service" <<-'END'
		[Unit]
		Wants=dbus.service
		After=dbus.service
		[Service]
		Type=oneshot
		ExecStart=/bin/bash /tmp/try/service.sh try
		StandardOutput=file:/tmp/try/log
		StandardError=append:/tmp/try/log
		ExecStopPost=/bin/sh -c 'echo $$SERVICE_RESULT >/tmp/try/result.new && mv /tmp/try/result.new /tmp/try/result'
	END
	setpriv --pdeathsig KILL unshare --pid --fork --kill-child --uts --ipc --cgroup --mount bash "$0" boot "$dir" >"$dir/boot" 2>&1 &
	machine=$!
	until [ -e "$dir/try/result" ]; do
		kill -0 $machine 2>/dev/null || { cat "$dir/boot" >&2; fail "systemd ended"; }
		sleep 0.1
	done
	kill -KILL $machine
	wait $machine 2>/dev/null || true
	cat "$dir/try/log"
	[ "$(cat "$dir/try/result")" = success ] || fail "the service: $(cat "$dir/try/result")"
	;;
esac
