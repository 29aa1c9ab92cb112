"""Whether a database has the tables that this version needs.

`ontime migrate` changes tables (pipelines/operations/migrate.py). Nothing else does, except that an empty database gets
all tables from whoever connects first and may create them, so that a laptop needs no other command.
"""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import ReflectedColumn

from ontime.database_errors import DatabaseRefused
from ontime.database_tables import REVISION, metadata, revision_table
from ontime.decision_chain import exclusive_transaction
from ontime.problem import PROBLEM

SCHEMA_KEY = 7_310_579_627  # of PostgreSQL's advisory lock, for whoever creates or alters tables
MIGRATE = "run `ontime migrate` (`make migrate`) as the owner of the database"


def prepare(engine: sa.Engine) -> None:
    """Create the tables of an empty database, and check those of another one. Raises DatabaseRefused."""
    try:
        with engine.connect() as connection:
            existing = set(sa.inspect(connection).get_table_names()).intersection(metadata.tables)
            revision = _revision(connection) if revision_table.name in existing else ""
        if not existing or (engine.dialect.name == "sqlite" and revision == REVISION):
            create_tables(engine)
        elif revision < REVISION:  # a later one stays after a rollback of the code, whose statements still work
            raise DatabaseRefused(
                engine, f"database schema {revision or 'without a number'}, this version needs {REVISION}: {MIGRATE}"
            )
        check_columns(engine)
    except sa.exc.ProgrammingError as error:  # of PostgreSQL: its user lacks a right
        reason = str(error.orig).partition("\n")[0]
        raise DatabaseRefused(engine, f"{reason}: {MIGRATE}") from error


def create_tables(engine: sa.Engine) -> None:
    """Create the tables that are missing, at the newest revision. Many processes may do so at once."""
    with exclusive_transaction(engine, SCHEMA_KEY) as connection:
        metadata.create_all(connection)
        if not _revision(connection):
            connection.execute(sa.insert(revision_table), {"version_num": REVISION})


def _revision(connection: sa.Connection) -> str:
    return connection.execute(sa.select(revision_table.c.version_num)).scalar() or ""


def check_columns(engine: sa.Engine) -> None:
    """Raises DatabaseRefused if a table lacks a column, or needs one that this version does not fill."""
    inspector = sa.inspect(engine)
    existing = set(inspector.get_table_names())
    for table in metadata.sorted_tables:
        if table.name not in existing:
            raise DatabaseRefused(engine, f"its table {table.name} is missing: restore a backup, or {MIGRATE}")
        columns = {column["name"]: column for column in inspector.get_columns(table.name)}
        if reason := _objection(table, columns):
            raise DatabaseRefused(
                engine,
                f"its table {table.name} {reason}: it was made for another problem than {PROBLEM.name}, or before the "
                "names in CHANGELOG.md changed. Move it away, or set ONTIME_DATABASE_URL to another one; `make train` "
                "fills a new one",
            )


def _objection(table: sa.Table, columns: Mapping[str, ReflectedColumn]) -> str | None:
    declared = set(table.columns.keys())
    if missing := sorted(declared - columns.keys()):
        return f"has no {', '.join(missing)}"
    if required := [name for name in sorted(columns.keys() - declared) if _is_required(columns[name])]:
        return f"needs {', '.join(required)}, which nothing fills any more"
    return None


def _is_required(column: ReflectedColumn) -> bool:
    """Whether the database rejects a row without this column."""
    has_default = column.get("default") is not None or "identity" in column or "computed" in column
    return not column["nullable"] and not has_default


def try_statements(engine: sa.Engine) -> None:
    """Compile the statements of the service without a row. Raises SQLAlchemyError if the database would refuse one."""
    names = ("predictions", "shadows", "outcomes")
    with engine.connect() as connection:
        for table in (metadata.tables[name] for name in names):
            nothing = sa.select(table).where(sa.false())
            connection.execute(sa.insert(table).from_select(list(table.columns.keys()), nothing))
        for table in (metadata.tables[name] for name in ("features", "entities", "decisions")):
            connection.execute(sa.select(table).where(sa.false()))
        connection.rollback()
