#!/bin/sh
# What tests/deb.sh has a Debian with systemd as its first process do: the package and
# `make install` as a person has them, with every limit of the units in force.
#
# /root/knowalledge.deb and /root/installed (of `make install PREFIX=/usr/local`) are
# there; there is no network but loopback.
set -eu
say() { printf '%s\n' "$*"; }
die() {
	say "FAILED: $*"
	systemctl --no-pager --full status 'knowalledge*' 'kae-*' || true
	journalctl --no-pager -n 60 || true
	exit 1
}
show() { systemctl show --value -p "$2" "$1"; }
# until_true COMMAND...: a minute; on a busy machine all of it is long.
until_true() {
	n=0
	until "$@" >/dev/null 2>&1; do
		n=$((n + 1))
		[ $n -lt 600 ] || die "never true: $*"
		sleep 0.1
	done
}
# told UNIT TEXT: whether its log has it.
told() { journalctl --no-pager -u "$1" | grep -q "$2"; }
json='Content-Type: application/json'
register() { curl -fsS http://127.0.0.1:5000/api/auth/register -H "$json" -d "{\"user_id\":\"$1\"}"; }
key_of() { sed 's/.*"api_key":"\([^"]*\)".*/\1/'; }
login() { curl -fs http://127.0.0.1:5000/api/auth/login -H "$json" -d "{\"api_key\":\"$1\"}"; }
learn() { # what the README asks for first, of the API key's owner
	curl -fsS http://127.0.0.1:5000/api/create_subtopics -H "X-API-Key: $1" -H "$json" \
		-d '{"topic":"Photosynthesis"}' | grep -q '"Light reaction"'
}
live() { curl -fsS "http://127.0.0.1:$1/livez" >/dev/null; }
install_it() { dpkg -i /root/knowalledge.deb >/root/dpkg.log 2>&1 || { cat /root/dpkg.log; die "dpkg -i"; }; }
env=/etc/knowalledge/knowalledge.env

systemctl is-system-running --wait >/dev/null || true
say "ok  $(systemctl --version | head -n 1) is process $(pgrep -o -x systemd)"

# --- the package ---------------------------------------------------------------
install_it
[ "$(systemctl is-active knowalledge)" = active ] || die "installing did not start it"
[ "$(show knowalledge Type)" = notify ] || die "type $(show knowalledge Type)"
say "ok  installed and active: $(show knowalledge StatusText)"

live 9400 || die "/livez"
key=$(register ada | key_of)
login "$key" >/dev/null || die "cannot log in"
learn "$key" || die "cannot learn"
say "ok  /livez; somebody registered, logged in and learns"

# What the unit takes away is gone.
pid=$(show knowalledge MainPID)
status=/proc/$pid/status
grep -q '^NoNewPrivs:	1$' $status || die "new privileges"
grep -q '^Seccomp:	2$' $status || die "no filter of system calls"
[ "$(sed -n 's/^CapBnd:	//p' $status)" = 0000000000000000 ] || die "capabilities"
[ "$(stat -c %U /proc/"$pid")" = knowalledge ] || die "it runs as $(stat -c %U /proc/"$pid")"
[ "$(stat -c '%U %a' /var/lib/knowalledge)" = "knowalledge 750" ] || die "its folder"
open=$(find /var/lib/knowalledge -type f -perm /077)
[ -z "$open" ] || die "others may read $open"
for unit in knowalledge kae-gateway kae-auth kae-content kae-gdpr; do
	level=$(systemd-analyze security --no-pager $unit | sed -n 's/.*Overall exposure level[^:]*: \([0-9]*\)\..*/\1/p')
	[ "$level" -lt 2 ] || die "$unit is exposed: $level"
done
say "ok  no capabilities, filtered, its own user; $(systemd-analyze security --no-pager knowalledge |
	sed -n 's/.*Overall exposure level for \([^:]*\): \([0-9.]*\).*/\1 \2/p')"

systemctl reload knowalledge || die "reload"
[ "$(show knowalledge MainPID)" = "$pid" ] || die "a reload made another process"
until_true told knowalledge gateway.reloaded
until_true systemctl is-active --quiet knowalledge
systemctl restart knowalledge || die "restart"
[ "$(show knowalledge MainPID)" != "$pid" ] || die "a restart made no other process"
login "$key" >/dev/null || die "the account is gone after a restart"
say "ok  reload keeps the process, restart the people"

kill -9 "$(show knowalledge MainPID)"
until_true sh -c '[ "$(systemctl show --value -p NRestarts knowalledge)" = 1 ]'
until_true login "$key"
say "ok  killed, it came back"

# It hangs: the watchdog, here of two seconds, ends it.
drop=/run/systemd/system/knowalledge.service.d
mkdir -p $drop
printf '[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n' >$drop/test.conf
systemctl daemon-reload
systemctl restart knowalledge
pid=$(show knowalledge MainPID)
before=$(show knowalledge NRestarts)
kill -STOP "$pid"
until_true sh -c "[ \$(systemctl show --value -p NRestarts knowalledge) -gt $before ]"
until_true login "$key"
told knowalledge 'Watchdog timeout' || die "no watchdog"
rm -r $drop
systemctl daemon-reload
systemctl restart knowalledge
say "ok  hung, the watchdog replaced it"

# A request that is half there when it has to stop is answered.
cat >/root/slow.sh <<'SLOW'
exec 3<>/dev/tcp/127.0.0.1/5000
body='{"user_id":"grace"}'
printf 'POST /api/auth/register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n' ${#body} >&3
IFS= read -r line <&3 # 100: it is being served
echo "$line" >/root/slow.begun
until [ -e /root/slow.go ]; do sleep 0.05; done
printf '%s' "$body" >&3
cat <&3 >/root/slow.answer
SLOW
bash /root/slow.sh &
slow=$!
until_true test -s /root/slow.begun
systemctl stop --no-block knowalledge
until_true sh -c 'journalctl --no-pager -u knowalledge | tail -n 20 | grep -q service.draining'
touch /root/slow.go
wait $slow || true
grep -q '^HTTP/1.1 201' /root/slow.answer || die "half a request was lost: $(cat /root/slow.answer)"
until_true sh -c '[ "$(systemctl is-active knowalledge)" = inactive ]'
[ "$(show knowalledge Result) $(show knowalledge ExecMainStatus)" = "success 0" ] ||
	die "it ended with $(show knowalledge Result) $(show knowalledge ExecMainStatus)"
say "ok  stop answers what it has, and ends with 0"

cp $env /root/env
echo PORT=nonsense >>$env
! systemctl start knowalledge 2>/dev/null || die "started with a wrong setting"
[ "$(show knowalledge NRestarts) $(show knowalledge ExecMainStatus)" = "0 2" ] ||
	die "a wrong setting: $(show knowalledge NRestarts) restarts, status $(show knowalledge ExecMainStatus)"
cp /root/env $env
systemctl reset-failed knowalledge
say "ok  a wrong setting fails at once, and once"

# --- four programs ---------------------------------------------------------------
systemctl start knowalledge
install_it
login "$key" >/dev/null || die "the account is gone after an upgrade"
[ "$(systemctl is-enabled knowalledge)" = enabled ] || die "an upgrade disabled it"
systemctl disable --now --quiet knowalledge
systemctl enable --now --quiet knowalledge.target
four="kae-auth kae-content kae-gdpr kae-gateway"
for unit in $four; do
	until_true systemctl is-active --quiet $unit
done
for port in 9400 9401 9402 9403; do
	until_true live $port
done
until_true login "$key"
until_true learn "$key"
kill -9 "$(show kae-auth MainPID)"
until_true sh -c '[ "$(systemctl show --value -p NRestarts kae-auth)" = 1 ]'
until_true login "$key"
pids() { for unit in $four; do show $unit MainPID; done; }
before=$(pids)
install_it
for pid in $(pids); do
	case " $(echo $before) " in *" $pid "*) die "an upgrade left $pid" ;; esac
done
until_true login "$key"
[ "$(systemctl is-enabled knowalledge) $(systemctl is-active knowalledge)" = "disabled inactive" ] ||
	die "an upgrade of the four started the one"
say "ok  the target runs four, an upgrade replaces each"
systemctl stop knowalledge.target
for unit in $four; do
	until_true sh -c "[ \$(systemctl is-active $unit) = inactive ]"
	[ "$(show $unit Result)" = success ] || die "$unit ended with $(show $unit Result)"
done
systemctl start knowalledge.target
until_true login "$key"
systemctl start knowalledge # Conflicts=
for unit in $four; do
	until_true sh -c "[ \$(systemctl is-active $unit) = inactive ]"
done
login "$key" >/dev/null || die "the one process does not know whom the four knew"
systemctl disable --quiet knowalledge.target
say "ok  four or one, on the same data, and never both"

dpkg --purge knowalledge >/root/dpkg.log 2>&1 || { cat /root/dpkg.log; die "purge"; }
for left in /etc/knowalledge /var/lib/knowalledge /run/knowalledge /usr/bin/knowalledge \
	/usr/lib/systemd/system/knowalledge.service /usr/lib/systemd/system/knowalledge.target; do
	[ ! -e $left ] || die "purge left $left"
done
! pgrep -x knowalledge >/dev/null || die "purge left knowalledge"
! pgrep '^kae-' >/dev/null || die "purge left one of the four"
left=$(systemctl list-units --all --plain --no-legend 'knowalledge*' 'kae-*')
[ -z "$left" ] || die "purge left units: $left"
say "ok  purge stopped it and left nothing"

# --- make install, by the lines of the README --------------------------------------
cp -a /root/installed/usr/local/. /usr/local/
sed -n '/^## Without Docker/,/^## /p' /root/installed/usr/local/share/doc/knowalledge/README.md | sed -n '/^```sh/,/^```/p' |
	grep -v -e '^```' -e '^make install' >/root/lines.sh
[ -s /root/lines.sh ] || die "the README has no lines"
sh -eu /root/lines.sh || die "the README's lines"
[ "$(systemctl is-active knowalledge)" = active ] || die "not active"
register ada >/dev/null || die "cannot register"
systemctl disable --now --quiet knowalledge
say "ok  make install, as the README says"
