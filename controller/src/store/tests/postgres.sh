#!/bin/bash
# Starts the PostgreSQL that the store's tests share, unless it runs: postgres.sh FOLDER. Its socket is in FOLDER.
# Who uses it holds a shared lock on FOLDER.use; two seconds after the last one let go it is stopped and removed.
set -euo pipefail
folder=$1
bin=$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -1)
[ -n "$bin" ] || { echo "PostgreSQL is missing: apt-get install postgresql-15 (or run make setup)" >&2; exit 1; }
bin=$(dirname "$bin")
# The server refuses to run as root.
as=()
[ "$(id -u)" != 0 ] || as=(setpriv --reuid=postgres --regid=postgres --clear-groups)

exec 8>"$folder.start"
flock 8
if [ -S "$folder/.s.PGSQL.5432" ] && "$bin/pg_isready" -q -h "$folder"; then exit 0; fi
rm -rf "$folder"
mkdir -m 0755 "$folder"
[ ${#as[@]} = 0 ] || chown postgres: "$folder"
cd "$folder"
{
    "${as[@]}" "$bin/initdb" -D data -U bessemer -A trust -E UTF8 --locale=C.UTF-8 --no-sync
    "${as[@]}" "$bin/pg_ctl" -D data -l log -w -t 60 start \
        -o "-k $folder -c listen_addresses= -c fsync=off -c full_page_writes=off -c max_connections=1000"
} >start.log 2>&1 8>&- </dev/null || { cat start.log log >&2; exit 1; }

# Watches for the last one to let go.
watch() {
    cd /
    exec 7>>"$folder.use"
    until flock -n -x 7; do sleep 2; done
    "${as[@]}" "$bin/pg_ctl" -D "$folder/data" -m immediate stop
    rm -rf "$folder"
}
export -f watch
folder=$folder bin=$bin as_text="${as[*]}" setsid bash -c 'read -ra as <<<"$as_text"; watch' \
    >/dev/null 2>&1 8>&- </dev/null &
