#!/bin/sh
# What the official image does: on an empty volume set the database up, run /docker-entrypoint-initdb.d/, then serve.
set -eu
data=/var/lib/postgresql/data/pgdata
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$data" && chown -R postgres "$data" /run/postgresql && chmod 700 "$data"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0"
fi
if [ ! -s "$data/PG_VERSION" ]; then
    initdb --pgdata "$data" --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" \
        --auth-local trust --auth-host scram-sha-256 --encoding UTF8 --locale C.UTF-8 > /dev/null
    echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
    pg_ctl --pgdata "$data" --wait --silent --options "-c listen_addresses=" start
    for script in /docker-entrypoint-initdb.d/*.sh; do "$script"; done
    pg_ctl --pgdata "$data" --wait --silent stop
fi
exec postgres -D "$data" -c listen_addresses='*'
