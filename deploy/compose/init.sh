#!/bin/sh
# Writes what compose.yaml's programs read as *_FILE, each into a folder (a volume)
# that only its reader has.  What is there is never written again.
#
#   /secrets/own         every secret by itself; nobody but this script reads it
#   /secrets/<program>   what <program> is given
set -eu
umask 077
cd "${1:-/secrets}"
program=10001 # the user of our images

random() {
	head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

secret() { # name: makes it when it is not there, and prints it
	[ -e "own/$1" ] || random | keep "own/$1" 0
	cat "own/$1"
}

keep() { # file, owner: standard input, whole or not at all
	cat >"$1.new"
	chmod 0400 "$1.new"
	chown "$2" "$1.new"
	sync "$1.new"
	mv "$1.new" "$1"
}

give() { # file, text, owner: our programs' unless said otherwise
	[ -e "$1" ] || printf '%s' "$2" | keep "$1" "${3:-$program}"
}

mkdir -p own
chmod 0755 ./*/
chmod 0700 own

# Who talks to whom (docs/bus.md): one secret for each pair, each given to both.
gateway_auth=$(secret bus_gateway_auth)
gateway_content=$(secret bus_gateway_content)
gateway_gdpr=$(secret bus_gateway_gdpr)
auth_gdpr=$(secret bus_auth_gdpr)
content_gdpr=$(secret bus_content_gdpr)
give gateway/bus_peer_keys "auth=$gateway_auth,content=$gateway_content,gdpr=$gateway_gdpr"
give auth/bus_peer_keys "gateway=$gateway_auth,gdpr=$auth_gdpr"
give content/bus_peer_keys "gateway=$gateway_content,gdpr=$content_gdpr"
give gdpr/bus_peer_keys "gateway=$gateway_gdpr,auth=$auth_gdpr,content=$content_gdpr"

database="postgresql://knowalledge:$(secret postgres_password)@postgres:5432/knowalledge"
cache="redis://default:$(secret valkey_password)@valkey:6379/0"
for name in gateway auth content gdpr; do
	give $name/bus_key "$(secret bus_key)"
	give $name/redis_url "$cache"
	[ $name = gateway ] || give $name/database_url "$database"
done
for name in auth gdpr; do
	give $name/key_encryption_key "$(secret key_encryption_key)"
done
give auth/admin_api_key "sk_admin_$(secret admin_api_key)"

# Of other people's images, whose users are not known here; nobody else has the
# volumes.
for name in postgres grafana; do
	give $name/password "$(secret ${name}_password)"
	chmod 0444 $name/password
done
give valkey/password "$(secret valkey_password)"
give valkey/valkey.conf "requirepass $(secret valkey_password)
maxmemory 128mb
maxmemory-policy allkeys-lru
save \"\"
appendonly no
"
chmod 0444 valkey/*

# For the profile `tls`: this machine only, to be replaced by a real one.
if [ ! -e gateway/tls.crt ]; then
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
		-days 365 -subj "/CN=localhost" \
		-addext "subjectAltName=DNS:localhost,IP:127.0.0.1" \
		-keyout own/tls.key -out own/tls.crt 2>/dev/null
	keep gateway/tls.key $program <own/tls.key
	keep gateway/tls.crt $program <own/tls.crt
fi
echo "secrets are there"
