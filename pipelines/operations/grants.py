"""The rights of two roles of PostgreSQL on the tables: of the service, and of the jobs.

The owner of the tables creates, alters and drops them, and grants these rights at each `ontime migrate`. A role that
does not exist gets none: with one user for all, as on a laptop, there is nothing to grant.
"""

import sqlalchemy as sa

from ontime.database_tables import metadata

SERVICE, WORKER = "ontime_service", "ontime_worker"

READ = "SELECT"
# The service reads all tables but those of the stream, and writes what requests bring.
OF_SERVICE = {
    "ontime_revision": READ,
    "entities": READ,
    "features": READ,
    "online_copies": READ,
    "predictions": "SELECT, INSERT",
    "shadows": "SELECT, INSERT, DELETE",  # of an erased entity, whose predictions waited in the spool
    "outcomes": "SELECT, INSERT, UPDATE",  # a later outcome replaces an earlier one
    "decisions": READ,
    "forgotten": READ,
    "hash_keys": READ,
}
# Jobs write and delete rows of all tables. Nobody but the owner changes a decision, or which revision the tables have.
OF_WORKER = dict.fromkeys(metadata.tables, "SELECT, INSERT, UPDATE, DELETE") | {
    "ontime_revision": READ,
    "decisions": "SELECT, INSERT",
}


def grant(connection: sa.Connection) -> None:
    """Give both roles exactly these rights, where they exist. For SQLite, which has no users, nothing."""
    if connection.dialect.name != "postgresql":
        return
    schema = connection.execute(sa.select(sa.func.quote_ident(sa.func.current_schema()))).scalar_one()
    for role, rights in ((SERVICE, OF_SERVICE), (WORKER, OF_WORKER)):
        if connection.execute(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).first() is None:
            continue
        statements = [
            f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}",
            f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {role}",
            f"GRANT USAGE ON SCHEMA {schema} TO {role}",
            *(f"GRANT {words} ON {schema}.{table} TO {role}" for table, words in rights.items()),
        ]
        if role == WORKER:  # for the numbers of decisions, events and dead letters; and pg_dump reads them
            statements.append(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}")
        for statement in statements:
            connection.exec_driver_sql(statement)
