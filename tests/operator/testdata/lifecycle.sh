#!/usr/bin/env bash
# Installs, upgrades and removes the packages in a throw-away copy of this machine's root: an overlay whose upper
# layer is in memory, in a mount namespace of its own: lifecycle.sh <directory> <client.deb> <old.deb> <new.deb>
# In the new package the Caddyfile and the environment file differ from those in the old one.
set -euo pipefail

dir=$1 client=$2 old=$3 new=$4
fail() { echo "FAILED: $*" >&2; exit 1; }

if [ "${5:-}" != inside ]; then
	mount -t tmpfs -o size=2g tmpfs "$dir"
	mkdir "$dir/upper" "$dir/work" "$dir/root"
	mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
	mount -t proc proc "$dir/root/proc"
	mount --rbind /dev "$dir/root/dev"
	mkdir -p "$dir/root/tmp/packages"
	cp "$client" "$dir/root/tmp/packages/client.deb"
	cp "$old" "$dir/root/tmp/packages/old.deb"
	cp "$new" "$dir/root/tmp/packages/new.deb"
	cp "$0" "$dir/root/tmp/packages/lifecycle.sh"
	exec chroot "$dir/root" /bin/bash /tmp/packages/lifecycle.sh . . . . inside
fi

cd /tmp/packages
unset LD_PRELOAD
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
unit=claudemesh-broker.service
wants=/etc/systemd/system/multi-user.target.wants/$unit
status() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null || echo "not known"; }
package() { dpkg "$@" </dev/null >log 2>&1 || { cat log >&2; fail "dpkg $*"; }; }
kept() { # that the operator's files are as the operator left them
	grep -qx '# the operator' /etc/claudemesh/Caddyfile || fail "$1: the operator's Caddyfile is gone"
	grep -qx DATABASE_URL=secret /etc/claudemesh/environment || fail "$1: the operator's environment is gone"
	[ "$(stat -c %a:%U /etc/claudemesh/environment)" = 600:root ] || fail "$1: others may read the environment"
}
serves() { # <what>: that the broker starts as its user and is ready
	install -d -m 0700 -o claudemesh -g claudemesh /run/claudemesh /var/lib/claudemesh
	setpriv --reuid=claudemesh --regid=claudemesh --clear-groups --no-new-privs --bounding-set=-all \
		env -i XDG_DATA_HOME=/var/lib/claudemesh XDG_CONFIG_HOME=/var/lib/claudemesh \
		/usr/lib/claudemesh/caddy run --config /etc/claudemesh/Caddyfile >broker.log 2>&1 &
	local pid=$!
	until (cd /etc/claudemesh && /usr/lib/claudemesh/caddy claudemesh health >/tmp/packages/health 2>&1); do
		kill -0 $pid 2>/dev/null || { cat broker.log health >&2; fail "$1: the broker ended"; }
		sleep 0.1
	done
	grep -q '"version":"v0.0.1"' broker.log || { cat broker.log; fail "$1: the version of the broker"; }
	kill $pid
	wait $pid || { cat broker.log >&2; fail "$1: the broker did not end well"; }
	if (cd /etc/claudemesh && /usr/lib/claudemesh/caddy claudemesh health >/tmp/packages/health 2>&1); then fail "$1: a broker that ended is healthy"; fi
	[ -s /var/lib/claudemesh/caddy/claudemesh/claudemesh.db ] || fail "$1: no database"
}

ip link set lo up

echo "== install"
package -i client.deb old.deb
[ "$(status claudemesh-broker)" = "install ok installed" ] || fail "claudemesh-broker is $(status claudemesh-broker)"
claudemesh --version | grep -q 0.0.1 || fail "the client is $(claudemesh --version)"
[ "$(getent passwd claudemesh | cut -d: -f6,7)" = /var/lib/claudemesh:/usr/sbin/nologin ] || fail "user: $(getent passwd claudemesh)"
[ -L "$wants" ] || fail "the service is not enabled"
for file in node balancer; do
	[ -s /usr/share/claudemesh-broker/cluster-$file.caddyfile ] || fail "no Caddyfile for a $file of a cluster"
done
systemd-analyze verify "/usr/lib/systemd/system/$unit" >log 2>&1 || { cat log; fail "the unit"; }
! grep -q claudemesh log || { cat log; fail "systemd warns of the unit"; }
for page in "1 claudemesh-send" "8 claudemesh-broker" "8 caddy-claudemesh-status"; do
	[ -s "/usr/share/man/man${page% *}/${page#* }.${page% *}.gz" ] || fail "no man page $page"
done
bash -c '. /usr/share/bash-completion/completions/claudemesh-broker
	COMP_WORDS=(claudemesh-broker audit ver) COMP_CWORD=2
	_claudemesh_broker claudemesh-broker ver audit; echo "${COMPREPLY[*]}"' >log 2>&1
grep -qx verify log || { cat log; fail "the completion does not know audit verify"; }
serves install

echo "== upgrade: what the operator has not changed is new"
package -i new.deb
grep -qx '# new' /etc/claudemesh/Caddyfile || fail "the Caddyfile is the old one"
package -i old.deb

echo "== upgrade: what the operator has changed stays"
echo '# the operator' >>/etc/claudemesh/Caddyfile
echo DATABASE_URL=secret >>/etc/claudemesh/environment
systemctl --quiet disable $unit
package --force-confold -i new.deb
kept upgrade
grep -qx '# new' /etc/claudemesh/Caddyfile.dpkg-dist || fail "the new Caddyfile is not beside the operator's"
[ ! -e "$wants" ] || fail "the upgrade enabled a service that the operator had disabled"
sed -i '/^DATABASE_URL=secret$/d' /etc/claudemesh/environment
serves upgrade
echo DATABASE_URL=secret >>/etc/claudemesh/environment

echo "== remove"
package -r claudemesh-broker
[ "$(status claudemesh-broker)" = "deinstall ok config-files" ] || fail "after remove: $(status claudemesh-broker)"
[ ! -e /usr/lib/claudemesh ] && [ ! -e "/usr/lib/systemd/system/$unit" ] || fail "remove left programs"
kept remove

echo "== install again, purge"
package --force-confold -i new.deb
kept "install again"
package --purge claudemesh-broker claudemesh
grep -q "stay in /var/lib/claudemesh" log || fail "purge does not say that the messages stay"
[ ! -e /etc/claudemesh ] && [ ! -e "$wants" ] && [ ! -e "/etc/systemd/system/$unit" ] || fail "purge left $(ls -d /etc/claudemesh/* $wants /etc/systemd/system/$unit 2>/dev/null)"
[ -s /var/lib/claudemesh/caddy/claudemesh/claudemesh.db ] || fail "purge took the messages"
[ ! -e /usr/bin/claudemesh ] || fail "purge left the client"
echo "== well"
