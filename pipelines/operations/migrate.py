"""Brings the tables of the database to this version: `ontime migrate`, before a new version of the service starts.

    ontime migrate                         with ONTIME_DATABASE_URL of the owner of the tables
    ontime migrate --new "add a column"    after a change in src/ontime/database_tables.py: writes the next revision

Alembic runs the revisions in migrations/versions, all in one transaction, which only one process at a time can be in. A
database of a version before there were revisions is adopted: revisions 0001 and 0002 create only what it lacks.

On a laptop, `train` migrates the SQLite file. In PostgreSQL, two roles get the rights that their programs need and no
others, if they exist: see grants.py.
"""

import sys
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import produce_migrations
from alembic.config import Config
from alembic.operations import Operations, ops
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from ontime import database, database_schema, database_tables, locks
from ontime.database_tables import entities, revision_table
from ontime.decision_chain import exclusive_transaction
from ontime.settings import BadSettings, Settings, load_settings
from pipelines.operations import grants

MIGRATIONS = Path(__file__).with_name("migrations")
LOCK_SECONDS = 10  # for a table: a migration that waits longer would hold up every request that comes after it


def migrate(settings: Settings) -> tuple[str, str]:
    """The revisions before and after. Raises DatabaseRefused, and SQLAlchemyError with the database unchanged."""
    engine = _patient_engine(settings)
    try:
        with exclusive_transaction(engine, database_schema.SCHEMA_KEY) as connection:
            before = _current(connection)
            upgrade_to_newest(connection)
            after = _current(connection)
            if after <= _head():  # older code does not know the tables of a later revision
                grants.grant(connection)
        database_schema.check_columns(engine)
    finally:
        engine.dispose()
    return before, after


def _patient_engine(settings: Settings) -> sa.Engine:
    """Without the limits of `database.connect`: sorting the rows of a new index takes longer than any statement may."""
    url = sa.make_url(settings.database_url.get_secret_value())
    if url.get_backend_name() == "sqlite":
        return database.open_engine(settings.database_url, LOCK_SECONDS)
    options = f"{url.query.get('options', '')} -c lock_timeout={1000 * LOCK_SECONDS} -c timezone=UTC"
    return sa.create_engine(url, connect_args={"connect_timeout": LOCK_SECONDS, "options": options})


def upgrade_to_newest(connection: sa.Connection) -> None:
    if _current(connection) <= _head():  # a later one is of a later version of the code
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    _follow_declaration(connection)


def upgrade_local_file(settings: Settings) -> None:
    """Migrate a SQLite file of an earlier version: on a laptop, whoever trains or serves owns the database."""
    url = sa.make_url(settings.database_url.get_secret_value())
    if url.get_backend_name() == "sqlite" and url.database and Path(url.database).exists():
        before, after = migrate(settings)
        if before != after:
            print(f"migrate: {url.database} is now at {after}")


def new_revision(message: str) -> Path:
    """Write the revision that turns the tables of the newest one into those of database_tables.py, for you to check."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        following = f"{int(_head() or 0) + 1:04}"
        script = command.revision(config, message, autogenerate=True, rev_id=following)
    assert script is not None and not isinstance(script, list)  # noqa: S101, PT018  of one revision
    return Path(script.path)


def differences(connection: sa.Connection) -> list[ops.MigrateOperation]:
    """What would turn the tables of the database into those that the code declares."""
    context = MigrationContext.configure(connection, opts={"version_table": revision_table.name})
    changes = produce_migrations(context, database_tables.metadata).upgrade_ops
    tables = [] if changes is None else changes.ops
    return [change for each in tables for change in (each.ops if isinstance(each, ops.ModifyTableOps) else [each])]


def _follow_declaration(connection: sa.Connection) -> None:
    """Add the fields and indexes that `problem/` declares for requests since the table of entities was created."""
    operations = Operations(MigrationContext.configure(connection))
    for change in differences(connection):
        if not isinstance(change, ops.AddColumnOp | ops.CreateIndexOp) or change.table_name != entities.name:
            continue
        if isinstance(change, ops.CreateIndexOp) or change.column.nullable:
            operations.invoke(change)


def _current(connection: sa.Connection) -> str:
    if not sa.inspect(connection).has_table(revision_table.name):
        return ""
    return connection.execute(sa.select(revision_table.c.version_num)).scalar() or ""


def _head() -> str:
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("file_template", "r%%(rev)s_%%(slug)s")
    config.set_main_option("path_separator", "newline")
    return config


def main(message: str | None) -> None:
    try:
        if message is not None:
            path = new_revision(message).relative_to(Path.cwd())
            print(f"migrate: wrote {path}; check it, and set REVISION in src/ontime/database_tables.py to its number")
            return
        before, after = migrate(load_settings())
    except (BadSettings, database.DatabaseRefused, locks.Busy) as refused:
        sys.exit(f"migrate: {refused}")
    except sa.exc.SQLAlchemyError as error:
        reason = str(error).partition("\n")[0]
        sys.exit(f"migrate: {reason}; nothing was changed: run it again as the owner of the tables")
    print(f"migrate: the database is at {after}" + ("" if before == after else f", before at {before or 'none'}"))
