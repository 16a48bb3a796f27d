#!/bin/sh
# Proves the Debian package in a bare Debian: it installs with what it needs, starts
# as its own user, keeps settings and data over an upgrade, and leaves nothing after
# a purge; first in a chroot, where there is no systemd and the unit's own command is
# run, then with systemd as the first process (tests/deb_booted.sh), where what `make
# install` installs is tried as well.
#
#   tests/deb.sh PACKAGE.deb
#
# Needs root, and says so where systemd-nspawn may not start a system.  The bare root
# is kept in build/ for the next run (as for clean.sh).
set -eu
deb=$(realpath "$1")
cd "$(dirname "$0")/.."
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
root=$PWD/build/deb-root
base=$PWD/build/clean-$release.tar

# The script as a unit of its own: what it ends with is what the system ends with.
boot() {
	make -s install DESTDIR="$root/root/installed" PREFIX=/usr/local >/dev/null
	cp tests/deb_booted.sh "$root/root/booted.sh"
	cat >"$root/etc/systemd/system/proof.service" <<-'UNIT'
		[Service]
		ExecStart=/bin/sh -c 'sh /root/booted.sh >/root/booted.log 2>&1; systemctl exit $$?'
		[Install]
		WantedBy=multi-user.target
	UNIT
	ln -sf ../proof.service "$root/etc/systemd/system/multi-user.target.wants/"
	: >"$root/root/booted.log"
	rc=0
	timeout 900 unshare --mount --pid --fork --kill-child --mount-proc \
		systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit \
		--private-network --machine=knowalledge --console=pipe \
		</dev/null >"$root.console" 2>&1 || rc=$?
	cat "$root/root/booted.log"
	[ -s "$root/root/booted.log" ] || tail -n 20 "$root.console" >&2
	return $rc
}

[ "$(id -u)" = 0 ] || { echo "deb.sh: needs root (chroot)" >&2; exit 2; }
if [ -z "${KAE_DEB_INSIDE:-}" ]; then
	KAE_DEB_INSIDE=1 unshare --mount --pid --fork --kill-child "$0" "$deb"
	boot
	exit
fi
if [ ! -s "$base" ]; then
	rm -rf "$root"
	debootstrap --variant=minbase "$release" "$root" \
		"$(apt-get indextargets --format '$(REPO_URI)' | grep -m 1 '/debian/*$')" >/dev/null
	tar -C "$root" -cf "$base" .
fi
rm -rf "$root"
mkdir -p "$root"
tar -C "$root" -xf "$base"
cp /etc/resolv.conf "$root/etc/resolv.conf"
[ ! -e /etc/hosts ] || cp /etc/hosts "$root/etc/hosts"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp "$deb" "$root/root/knowalledge.deb"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
cat >"$root/root/inside.sh" <<'INSIDE'
set -eu
export DEBIAN_FRONTEND=noninteractive
say() { printf '%s\n' "$*"; }
die() { say "FAILED: $*"; exit 1; }

apt-get update -q >/dev/null
apt-get install -y -q --no-install-recommends curl >/dev/null
before=$(dpkg-query -W -f '${Package}\n' | sort)
apt-get install -y -q --no-install-recommends /root/knowalledge.deb >/dev/null
say "ok  installed"

env=/etc/knowalledge/knowalledge.env
[ "$(stat -c '%U:%G %a' $env)" = "root:knowalledge 640" ] || die "$env: $(stat -c '%U:%G %a' $env)"
grep -q '^KEY_ENCRYPTION_KEY=.\{40,\}$' $env || die "no key was made"
[ -e /etc/systemd/system/multi-user.target.wants/knowalledge.service ] || die "not enabled"
say "ok  settings are the service's alone; enabled"

unit=/usr/lib/systemd/system/knowalledge.service
start() { # as the unit says
	install -d -o knowalledge -g knowalledge -m 0750 /var/lib/knowalledge
	# shellcheck disable=SC2046
	(cd /var/lib/knowalledge && exec env -i PATH="$PATH" \
		$(sed -n 's/^Environment=//p' $unit) $(grep -v '^#' $env) \
		setpriv --reuid=knowalledge --regid=knowalledge --init-groups --no-new-privs \
		$(sed -n 's/^ExecStart=//p' $unit)) >/root/log 2>&1 &
	pid=$!
	n=0
	until curl -fs http://127.0.0.1:5000/ready >/dev/null; do
		n=$((n + 1))
		[ $n -lt 300 ] || { cat /root/log; die "not ready"; }
		sleep 0.1
	done
}
finish() {
	kill -TERM $pid
	wait $pid || { cat /root/log; die "it ended with $?"; }
}
start
curl -fs http://127.0.0.1:5000/api/auth/register -H 'Content-Type: application/json' \
	-d '{"user_id":"ada"}' >/root/key.json || die "cannot register"
finish
say "ok  started as its own user; somebody registered"

sum=$(sha256sum $env)
dpkg -i /root/knowalledge.deb >/dev/null
[ "$sum" = "$(sha256sum $env)" ] || die "an upgrade changed the settings"
start
key=$(sed 's/.*"api_key":"\([^"]*\)".*/\1/' /root/key.json)
curl -fs http://127.0.0.1:5000/api/auth/login -H 'Content-Type: application/json' \
	-d "{\"api_key\":\"$key\"}" >/dev/null || die "the account is gone after an upgrade"
finish
say "ok  an upgrade keeps settings and people"

dpkg --remove knowalledge >/dev/null 2>&1
[ -d /var/lib/knowalledge ] && [ -e $env ] || die "remove took data"
dpkg --purge knowalledge >/dev/null 2>&1
for left in /etc/knowalledge /var/lib/knowalledge /usr/bin/knowalledge /usr/share/knowalledge \
	/usr/share/doc/knowalledge /etc/systemd/system/multi-user.target.wants/knowalledge.service; do
	[ ! -e $left ] || die "purge left $left"
done
! getent passwd knowalledge >/dev/null || die "purge left the user"
# Also what others here could use: curl would be glad of ca-certificates.
apt-get autoremove -y -q --purge -o APT::AutoRemove::RecommendsImportant=false \
	-o APT::AutoRemove::SuggestsImportant=false >/dev/null
after=$(dpkg-query -W -f '${Package}\n' | sort)
[ "$before" = "$after" ] || die "packages are left: $after"
say "ok  purge left nothing"

# For the next: the libraries without the package, and a first process.
apt-get install -y -q --no-install-recommends /root/knowalledge.deb systemd-sysv procps >/dev/null
dpkg --purge knowalledge >/dev/null 2>&1
rm /usr/sbin/policy-rc.d
INSIDE
chroot "$root" sh /root/inside.sh
