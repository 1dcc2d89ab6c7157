#!/bin/sh
# Makes a snapshot what Redis begins with, as an append-only file: restore.sh SNAPSHOT CONFIG   (SNAPSHOT: a file, or - for standard input)
# Redis must not be running. Nobody reaches it meanwhile: it has no port. The new file is made beside the one that is there, and takes its
# place last of all; that one stays, as …before-TIME.
# A Redis whose configuration says `appendonly yes` does not look at dump.rdb: put there alone, it would begin empty.
set -eu
[ $# -eq 2 ] || { echo 'restore.sh SNAPSHOT CONFIG' >&2; exit 2; }
config=$2
setting() { sed -n "s/^ *$1  *\"\{0,1\}\([^\" ]*\)\"\{0,1\} *\$/\1/p" "$config" | tail -n 1; }
fail() { echo "$1" >&2; exit 1; }

dir=$(setting dir)
name=$(setting appenddirname)
name=${name:-appendonlydir}
port=$(setting port)
snapshot=$dir/restore.rdb
socket=$dir/restore.sock
server=
case $dir in /*) ;; *) fail "$config has no line 'dir /…': say there where Redis keeps its files." ;; esac
# Whatever it answers, be it NOAUTH: it runs.
[ -z "$(redis-cli -p "${port:-6379}" ping 2> /dev/null)" ] || fail "A Redis listens on port ${port:-6379}: stop it first."

undo() {
  [ -z "$server" ] || { kill "$server" 2> /dev/null; wait "$server" 2> /dev/null; } || true
  rm -rf "$snapshot" "$socket" "$dir/$name.restoring"
}
trap undo EXIT
rm -rf "$dir/$name.restoring"
redis() { redis-cli -s "$socket" "$@"; }

cat -- "$1" > "$snapshot"
found=$(redis-check-rdb "$snapshot") || { echo "$found" >&2; fail 'This is no whole snapshot: nothing was changed.'; }
keys=$(echo "$found" | sed -n 's/^\[info\] \([0-9]*\) keys read$/\1/p')
expired=$(echo "$found" | sed -n 's/^\[info\] \([0-9]*\) expires$/\1/p')

redis-server "$config" --port 0 --unixsocket "$socket" --requirepass '' --save '' --appendonly no --dbfilename restore.rdb \
  --appenddirname "$name.restoring" &
server=$!
until answer=$(redis ping 2> /dev/null) && [ "$answer" = PONG ]; do
  case $answer in NOAUTH*) fail "$config has users with passwords ('user default …', or an aclfile): take them out for this." ;; esac
  kill -0 "$server" 2> /dev/null || fail 'Redis did not start: see above.'
  sleep 0.1
done
restored=$(redis dbsize)
[ "$restored" -ge $((keys - expired)) ] || fail "Of $keys keys in the snapshot Redis has taken $restored."
redis config set appendonly yes > /dev/null
until redis info persistence | grep -q 'aof_rewrite_in_progress:0' && redis info persistence | grep -q 'aof_rewrite_scheduled:0'; do
  sleep 0.1
done
redis info persistence | grep -q 'aof_last_bgrewrite_status:ok' || fail 'The append-only file could not be written.'
redis shutdown nosave || true
wait "$server" || true
server=
[ -d "$dir/$name.restoring" ] || fail 'Redis has written no append-only file.'
[ ! -e "$dir/$name" ] || mv "$dir/$name" "$dir/$name.before-$(date -u +%Y%m%dT%H%M%SZ)"
mv "$dir/$name.restoring" "$dir/$name"
echo "restored: $restored keys"
