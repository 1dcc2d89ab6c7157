#!/bin/sh
# Makes a snapshot what Redis begins with, as an append-only file: restore.sh SNAPSHOT CONFIG   (SNAPSHOT: a file, or - for standard input)
# Redis must not be running. Nobody reaches it meanwhile: it has no port. What it had before stays beside it, as appendonlydir.before-*.
# A Redis whose configuration says `appendonly yes` does not look at dump.rdb: put there alone, it would begin empty.
set -eu
[ $# -eq 2 ] || { echo 'restore.sh SNAPSHOT CONFIG' >&2; exit 2; }
config=$2
dir=$(sed -n 's/^dir  *//p' "$config")
socket=$dir/restore.sock
redis() { redis-cli -s "$socket" "$@"; }

server=
trap '[ -z "$server" ] || kill "$server" 2> /dev/null; rm -f "$dir/restore.rdb" "$socket"' EXIT
cat -- "$1" > "$dir/restore.rdb"
redis-check-rdb "$dir/restore.rdb" >&2 || { echo 'This is no whole snapshot: nothing was changed.' >&2; exit 1; }
[ ! -e "$dir/appendonlydir" ] || mv "$dir/appendonlydir" "$dir/appendonlydir.before-$(date -u +%Y%m%dT%H%M%SZ)"

redis-server "$config" --port 0 --unixsocket "$socket" --requirepass '' --save '' --appendonly no --dbfilename restore.rdb &
server=$!
until redis ping 2> /dev/null | grep -q PONG; do
  kill -0 "$server" 2> /dev/null || { echo 'Redis did not start: see above.' >&2; exit 1; }
  sleep 0.1
done
redis config set appendonly yes > /dev/null
until redis info persistence | grep -q 'aof_rewrite_in_progress:0' && redis info persistence | grep -q 'aof_rewrite_scheduled:0'; do
  sleep 0.1
done
redis info persistence | grep -q 'aof_last_bgrewrite_status:ok' || { echo 'The append-only file could not be written.' >&2; exit 1; }
keys=$(redis dbsize)
redis shutdown nosave || true
wait "$server" || true
server=
echo "restored: $keys keys"
