#!/bin/sh
# As the entry point of postgres:17: gives up root; in an empty PGDATA makes a
# cluster with POSTGRES_USER, POSTGRES_PASSWORD[_FILE] and POSTGRES_DB, by a server
# that listens on its socket only; then starts the server for all.
set -eu
[ "${1#-}" = "$1" ] || set -- postgres "$@"
[ "$1" = postgres ] || exec "$@"
if [ "$(id -u)" = 0 ]; then
	chown postgres "$PGDATA"
	chmod 0700 "$PGDATA"
	exec setpriv --reuid=postgres --regid=postgres --init-groups /bin/sh "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	user=${POSTGRES_USER:-postgres}
	password=${POSTGRES_PASSWORD:-$(cat "$POSTGRES_PASSWORD_FILE")}
	printf '%s\n' "$password" >/tmp/password
	initdb -D "$PGDATA" -U "$user" --pwfile=/tmp/password --auth-host=scram-sha-256 \
		--auth-local=trust -E UTF8 --locale=C.UTF-8
	rm /tmp/password
	echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
	pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start
	[ "${POSTGRES_DB:-$user}" = postgres ] ||
		psql -U "$user" -d postgres -c "CREATE DATABASE \"${POSTGRES_DB:-$user}\""
	pg_ctl -D "$PGDATA" -m fast -w stop
fi
# Nothing here outlives the machine.
exec "$@" -c listen_addresses='*' -c fsync=off
