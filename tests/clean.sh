#!/bin/sh
# Proves the two README commands on a bare Debian: a debootstrap root with git
# and make, as the README asks, and nothing else.  Runs `make test`, then `make
# run` until the API answers, from a fresh clone of HEAD.
#
#   tests/clean.sh [bookworm|trixie] [SUITE...]
#
# With suites (those of tests/run.py) only they are run, in the root that the
# last run left, where packages and objects are already; and if CCACHE_DIR is
# set, through ccache with that folder.
#
# Needs root.  The root folder is kept in build/clean-<release> for the next
# run's speed; without suites everything inside is made again.
set -eu
cd "$(dirname "$0")/.."
release=${1:-bookworm}
[ $# = 0 ] || shift
root=$PWD/build/clean-$release
base=$root.tar

[ "$(id -u)" = 0 ] || { echo "clean.sh: needs root (chroot)" >&2; exit 2; }
command -v debootstrap >/dev/null || apt-get install -y -q debootstrap >/dev/null

# Inside namespaces of its own: mounts and processes end with it, so that nothing
# is mounted in a root that is removed.  Never two in one root.
if [ -z "${KAE_CLEAN_INSIDE:-}" ]; then
	mkdir -p build
	KAE_CLEAN_INSIDE=1 exec flock --nonblock --conflict-exit-code 75 "$root.lock" \
		unshare --mount --pid --fork --kill-child "$0" "$release" "$@"
fi

mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -m 1 '/debian/*$')
if [ ! -s "$base" ]; then
	rm -rf "$root"
	debootstrap --variant=minbase "$release" "$root" "$mirror" >/dev/null
	tar -C "$root" -cf "$base.new" .
	mv "$base.new" "$base"
fi
if [ $# = 0 ] || [ ! -d "$root/srv/knowalledge" ]; then
	rm -rf "$root"
	mkdir -p "$root"
	tar -C "$root" -xf "$base"
fi
cp /etc/resolv.conf "$root/etc/resolv.conf"
[ ! -e /etc/hosts ] || cp /etc/hosts "$root/etc/hosts"
# A mount point, as / is where there is no chroot: tests unshare from there.
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
if [ $# != 0 ] && [ -n "${CCACHE_DIR:-}" ]; then
	mkdir -p "$CCACHE_DIR" "$root/srv/ccache"
	mount --bind "$CCACHE_DIR" "$root/srv/ccache"
	export CCACHE_DIR=/srv/ccache
fi

git bundle create -q "$root/srv/src.bundle" HEAD
cat >"$root/srv/inside.sh" <<'INSIDE'
set -eu
# Docker in a chroot is another matter than what this proves.
export LANG=C.UTF-8 CI=true SKIP_DOCKER=1
apt-get update -q >/dev/null
apt-get install -y -q --no-install-recommends git make >/dev/null 2>&1
[ -d /srv/knowalledge ] || git init -q /srv/knowalledge
cd /srv/knowalledge
git fetch -q /srv/src.bundle HEAD
git checkout -q -f FETCH_HEAD

if [ $# != 0 ]; then
	if [ -n "${CCACHE_DIR:-}" ]; then
		apt-get install -y -q --no-install-recommends ccache >/dev/null 2>&1
		export PATH=/usr/lib/ccache:$PATH
	fi
	make deps-test
	make -s -j2 all tests
	exec python3 tests/run.py --build build --flavor release "$@"
fi
make test

echo "== make run"
make run >/srv/run.log 2>&1 &
run=$!
tries=0
until bash -c 'exec 3<>/dev/tcp/127.0.0.1/5000' 2>/dev/null; do
	tries=$((tries + 1))
	if [ $tries -gt 600 ]; then
		cat /srv/run.log
		echo "make run: nothing answers on 127.0.0.1:5000"
		exit 1
	fi
	sleep 0.2
done
python3 - <<'ASK'
import json, urllib.request
for path in ("/health", "/"):
    with urllib.request.urlopen("http://127.0.0.1:5000" + path) as answer:
        print(path, answer.status, json.load(answer))
ASK
for p in /proc/[0-9]*; do
	case $(readlink "$p/exe" 2>/dev/null) in
	*/bin/knowalledge) kill "${p#/proc/}" ;;
	esac
done
wait $run
echo "== make run: answered, stopped with 0"
INSIDE
chroot "$root" /bin/bash /srv/inside.sh "$@"
