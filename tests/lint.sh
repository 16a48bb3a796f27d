#!/bin/sh
# Rules that a compiler cannot check: banned calls, includes against the arrows
# of design D1, SQL built with printf, routes of one program into another.
set -eu
cd "$(dirname "$0")/.."
fail=0

complain() { # title, lines
	[ -z "$2" ] && return 0
	printf '%s\n%s\n\n' "$1" "$2" >&2
	fail=1
}

sources=$(git ls-files --cached --others --exclude-standard '*.c' '*.h')

banned='strcpy|strcat|sprintf|strncpy|strncat|strtok|atoi|sscanf|gets|alloca|rand|gmtime|localtime|system'
complain "Banned calls:" "$(echo "$sources" |
	xargs grep -nE "(^|[^_[:alnum:]>.\"])($banned) ?\(" || true)"

complain "SQL built with printf:" "$(echo "$sources" | grep -v '^tests/' |
	xargs grep -nE 'printf\(.*"(SELECT|INSERT|UPDATE|DELETE) ' || true)"

complain "Log fields that repeat a member that every line has:" "$(echo "$sources" |
	xargs grep -nE 'LOG_[A-Z0-9]+\("(ts|level|service|event|request_id|trace_id)"' || true)"

# Which folders each folder may include.  base <- codec <- bus, db, cache <-
# event, obs <- service <- programs.
allowed() {
	case $1 in
	common/base) echo 'common/base' ;;
	common/codec) echo 'common/(base|codec)' ;;
	common/bus | common/db | common/cache) echo "common/(base|codec)|$1" ;;
	common/event) echo 'common/(base|codec|bus|db|event)' ;;
	common/obs) echo 'common/(base|codec|bus|db|cache|obs)' ;;
	common/privacy) echo 'common/(base|codec|bus|db|privacy)' ;;
	common/service) echo 'common/[a-z]+' ;;
	gateway | svc-*) echo "common/[a-z]+|$1" ;;
	local) echo 'common/[a-z]+|gateway|svc-[a-z]+|local' ;;
	*) echo '.*' ;;
	esac
}
for dir in common/base common/codec common/bus common/db common/cache \
	common/event common/obs common/privacy common/service gateway \
	svc-auth svc-content svc-gdpr local; do
	files=$(echo "$sources" | grep "^$dir/" || true)
	[ -n "$files" ] || continue
	complain "Includes that $dir must not have (docs/architecture.md):" \
		"$(echo "$files" | xargs grep -nE '^#include "' |
			grep -vE "#include \"($(allowed $dir))/" |
			grep -vE '#include [A-Z_]+$' || true)"
done
exit $fail
