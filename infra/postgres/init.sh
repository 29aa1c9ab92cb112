#!/bin/sh
# Run once, by the database's image, on an empty volume: for each tenant a user, and a database that only it may enter.
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
