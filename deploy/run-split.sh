#!/bin/sh
# The four programs over ipc, sockets and databases under DATA_DIR (var/), each
# with its own admin port.  Ctrl-C or SIGTERM stops them: the gateway first, so
# that what it has taken is answered, then all services.
#   BIN=build/release/bin deploy/run-split.sh
set -u

BIN=${BIN:-build/release/bin}
DATA_DIR=${DATA_DIR:-var}
export DATA_DIR
export ENVIRONMENT="${ENVIRONMENT:-development}"
for s in auth content gdpr; do
	name=BUS_$(echo $s | tr '[:lower:]' '[:upper:]')
	eval "export $name=\${$name:-ipc://$DATA_DIR/run/$s.sock}"
done
# Each program has an admin port of its own: one ADMIN_PORT cannot be for all.
base=${ADMIN_PORT:-9400}

services=""
gateway=""
stopping=""

stop() {
	stopping=1
}
trap stop INT TERM

start() { # program, admin port; its pid is in $pid
	# In a session of its own, so that Ctrl-C reaches only this script and
	# the order below holds.
	ADMIN_PORT=$2 setsid "$BIN/$1" &
	pid=$!
}

alive() {
	for p in "$@"; do
		kill -0 "$p" 2>/dev/null || return 1
	done
}

end() { # signals all given pids, waits for each; worst exit code in $worst
	for p in "$@"; do
		kill -TERM "$p" 2>/dev/null || :
	done
	for p in "$@"; do
		code=0
		# A trapped signal ends `wait` early.
		while :; do
			wait "$p"
			code=$?
			kill -0 "$p" 2>/dev/null || break
		done
		[ "$code" -le "$worst" ] || worst=$code
	done
}

worst=0
n=1
for s in auth content gdpr; do
	start "kae-$s" $((base + n))
	services="$services $pid"
	n=$((n + 1))
done
start kae-gateway "$base"
gateway=$pid

told=""
while [ -z "$stopping" ] && alive $gateway $services; do
	if [ -z "$told" ] && ADMIN_PORT=$base "$BIN/kae-gateway" --health >/dev/null 2>&1; then
		told=1
		cat >&2 <<-END

		  KnowAllEdge is ready, as four programs.
		  Address      http${SSL_CERTFILE:+s}://${BIND:-127.0.0.1}:${PORT:-5000}
		  Admin key    $([ -n "${ADMIN_API_KEY:-}" ] && echo "the one in ADMIN_API_KEY" || echo "$DATA_DIR/admin.key")
		  Admin ports  $base gateway, $((base + 1)) auth, $((base + 2)) content, $((base + 3)) gdpr
		  Stop         Ctrl-C

		END
	fi
	sleep 0.2
done

# One that has ended by itself takes the others with it.
end $gateway
end $services
exit "$worst"
