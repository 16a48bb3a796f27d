#!/bin/sh
# Proves the two README commands on a bare Debian: a debootstrap root with git
# and make, as the README asks, and nothing else.  Runs `make test`, then `make
# run` until the API answers, from a fresh clone of HEAD.
#
#   tests/clean.sh [bookworm|trixie]
#
# Needs root.  The root folder is kept in build/clean-<release> for the next
# run's speed; everything inside is made again.
set -eu
cd "$(dirname "$0")/.."
release=${1:-bookworm}
root=$PWD/build/clean-$release

[ "$(id -u)" = 0 ] || { echo "clean.sh: needs root (chroot)" >&2; exit 2; }
command -v debootstrap >/dev/null || apt-get install -y -q debootstrap >/dev/null

# Inside namespaces of its own: mounts and processes end with it.
if [ -z "${KAE_CLEAN_INSIDE:-}" ]; then
	KAE_CLEAN_INSIDE=1 exec unshare --mount --pid --fork "$0" "$release"
fi

mirror=$(apt-get indextargets --format '$(REPO_URI)' | head -n 1)
base=$PWD/build/clean-$release.tar
if [ ! -s "$base" ]; then
	rm -rf "$root"
	debootstrap --variant=minbase "$release" "$root" "$mirror" >/dev/null
	tar -C "$root" -cf "$base" .
fi
rm -rf "$root"
mkdir -p "$root"
tar -C "$root" -xf "$base"
cp /etc/resolv.conf "$root/etc/resolv.conf"
[ ! -e /etc/hosts ] || cp /etc/hosts "$root/etc/hosts"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"

git bundle create -q "$root/root/src.bundle" HEAD
cat >"$root/root/inside.sh" <<'INSIDE'
set -eu
# Docker in a chroot is another matter than what this proves.
export LANG=C.UTF-8 CI=true SKIP_DOCKER=1
apt-get update -q >/dev/null
apt-get install -y -q --no-install-recommends git make >/dev/null 2>&1
git clone -q /root/src.bundle /root/knowalledge 2>/dev/null
cd /root/knowalledge
git checkout -q "$(git ls-remote /root/src.bundle HEAD | cut -f1)"
make test

echo "== make run"
make run >/root/run.log 2>&1 &
run=$!
tries=0
until bash -c 'exec 3<>/dev/tcp/127.0.0.1/5000' 2>/dev/null; do
	tries=$((tries + 1))
	if [ $tries -gt 600 ]; then
		cat /root/run.log
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
chroot "$root" /bin/bash /root/inside.sh
