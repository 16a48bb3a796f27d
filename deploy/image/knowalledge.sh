#!/bin/sh
# What the image of `knowalledge` starts: the program, after making the key that
# it wants outside development, where nobody has given one.  It lies in the volume
# that the databases are in: who keeps the volume keeps both, and who must not
# have both in one place gives KEY_ENCRYPTION_KEY or KEY_ENCRYPTION_KEY_FILE.
set -eu

# An empty one, as in an .env, is none.
[ -n "${KEY_ENCRYPTION_KEY:-}" ] || unset KEY_ENCRYPTION_KEY

if [ -z "${KEY_ENCRYPTION_KEY:-}${KEY_ENCRYPTION_KEY_FILE:-}" ]; then
	key=$DATA_DIR/key_encryption.key
	if [ ! -e "$key" ]; then
		# Whole or not at all, and never a second time.
		umask 077
		head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$key.new"
		sync "$key.new"
		mv "$key.new" "$key"
	fi
	export KEY_ENCRYPTION_KEY_FILE="$key"
fi
exec knowalledge "$@"
