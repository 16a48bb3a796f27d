#!/bin/sh
# As the entry point of valkey/valkey:8: gives up root, then starts the server.
set -eu
[ "${1#-}" = "$1" ] || set -- valkey-server "$@"
if [ "$1" = valkey-server ] && [ "$(id -u)" = 0 ]; then
	chown valkey .
	exec setpriv --reuid=valkey --regid=valkey --clear-groups "$@"
fi
exec "$@"
