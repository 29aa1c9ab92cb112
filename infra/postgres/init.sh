#!/bin/sh
# The database's image runs this once, on an empty volume: one user and one database for each tenant, closed to the others.
set -eu
for tenant in ontime mlflow prefect; do
    export tenant
    psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres -v tenant="$tenant" <<'SQL'
\set password `cat "/run/secrets/${tenant}_password"`
CREATE USER :"tenant" PASSWORD :'password';
CREATE DATABASE :"tenant" OWNER :"tenant";
REVOKE CONNECT ON DATABASE :"tenant" FROM PUBLIC;
SQL
done
