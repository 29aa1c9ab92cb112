#!/bin/sh
# One user and one database for each tenant, closed to the others; and for ontime two more users, with the rights that
# `ontime migrate` grants them: of the service, and of the worker. The database's image runs this on an empty volume. It
# changes nothing that exists, so it also adds what an earlier version has not made:
#   docker compose -f infra/compose.yaml exec postgres sh /docker-entrypoint-initdb.d/init.sh
set -eu
psql_as_admin() { psql -v ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" --dbname postgres "$@"; }

for user in ontime mlflow prefect ontime_service ontime_worker; do
    export user
    psql_as_admin -v user="$user" <<'SQL'
\set password `cat "/run/secrets/${user}_password"`
SELECT format('CREATE USER %I PASSWORD %L', :'user', :'password')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'user') \gexec
SQL
done
for tenant in ontime mlflow prefect; do
    psql_as_admin -v tenant="$tenant" <<'SQL'
SELECT format('CREATE DATABASE %I OWNER %I', :'tenant', :'tenant')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'tenant') \gexec
REVOKE CONNECT ON DATABASE :"tenant" FROM PUBLIC;
SQL
done
psql_as_admin -c "GRANT CONNECT ON DATABASE ontime TO ontime_service, ontime_worker"
