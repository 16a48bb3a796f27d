#!/bin/sh
# Installs the Debian packages that are missing, and nothing when none is.
#   deploy/deps.sh build run test docker bench deb debtest fuzz
# NO_INSTALL=1, or neither root nor sudo: prints the command and exits 2.
set -eu

build="gcc make pkg-config libc6-dev libnng-dev libmicrohttpd-dev libgnutls28-dev
	zlib1g-dev libpq-dev
	libhiredis-dev libmsgpack-dev libjwt-dev libcurl4-gnutls-dev libsqlite3-dev libssl-dev
	libsodium-dev libjansson-dev libutf8proc-dev libpng-dev libjpeg62-turbo-dev libgif-dev
	libwebp-dev libdata-password-zxcvbn-perl"
run="wordnet-base ca-certificates"
test="libcmocka-dev postgresql pgbouncer redis-server haproxy openssl python3 python3-yaml clang-format
	curl prometheus systemd iproute2 chromium-headless-shell fonts-dejavu-core"
# A Docker daemon of the tests' own (tests/containers), unless SKIP_DOCKER is set.
docker="docker.io docker-compose debootstrap mmdebstrap iptables iproute2 slirp4netns"
bench="nginx-light wrk gunicorn python3-flask python3-flask-caching python3-sqlalchemy
	python3-psycopg2 python3-redis python3-jwt python3-argon2"
deb="dpkg-dev"
debtest="debootstrap systemd-container"
fuzz="clang libclang-rt-dev"

want=""
for group in "$@"; do
	case $group in
	build) want="$want $build" ;;
	run) want="$want $run" ;;
	test) want="$want $test" ;;
	docker) want="$want $docker" ;;
	bench) want="$want $bench" ;;
	deb) want="$want $deb" ;;
	debtest) want="$want $debtest" ;;
	fuzz) want="$want $fuzz" ;;
	*)
		echo "deps.sh: no group '$group'" >&2
		exit 2
		;;
	esac
done

missing=""
for p in $want; do
	dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null |
		grep -qx installed || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"
command="$sudo apt-get install -y --no-install-recommends$missing"
if [ -n "${NO_INSTALL:-}" ] || { [ -n "$sudo" ] && ! command -v sudo >/dev/null; }; then
	echo "Missing Debian packages. Install them with:" >&2
	echo "  apt-get update &&$command" >&2
	exit 2
fi
echo "Installing Debian packages:$missing"

# Databases are started by the tests, in folders of their own: the packages
# must neither start a service nor make a cluster.
policy=/usr/sbin/policy-rc.d
made=""
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
	$sudo chmod +x $policy
	made=1
fi
clusters=/etc/postgresql-common/createcluster.conf
if [ ! -e $clusters ]; then
	$sudo mkdir -p /etc/postgresql-common
	echo 'create_main_cluster = false' | $sudo tee $clusters >/dev/null
fi
trap '[ -z "$made" ] || $sudo rm -f $policy' EXIT INT TERM
log=$(mktemp)
for step in "apt-get update -q" "apt-get install -q -y --no-install-recommends$missing"; do
	if ! $sudo env DEBIAN_FRONTEND=noninteractive $step >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		rm -f "$log"
		echo "deps.sh: '$step' failed" >&2
		exit 2
	fi
done
rm -f "$log"
