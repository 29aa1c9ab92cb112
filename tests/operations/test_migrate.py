"""Migrations: the tables of the code and of the revisions are the same, and each earlier database gets there."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from pydantic import SecretStr

from ontime import database, database_schema, database_tables, decision_chain
from ontime.database import DatabaseRefused
from ontime.settings import Settings
from pipelines.operations import grants, migrate
from tests.postgres import DATABASES, Server


@pytest.fixture(params=DATABASES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Of an empty database; every test of this file that has no other one runs on both kinds."""
    url = f"sqlite:///{tmp_path}/ontime.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").new_database()
    return Settings(database_url=SecretStr(url))


@pytest.fixture
def engine(settings: Settings) -> Iterator[sa.Engine]:
    """Checks nothing and creates nothing."""
    engine = database.open_engine(settings.database_url)
    yield engine
    engine.dispose()


def run(engine: sa.Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def revision_of(engine: sa.Engine) -> str:
    with engine.connect() as connection:
        return str(connection.execute(sa.select(database_tables.revision_table.c.version_num)).scalar_one())


def details(engine: sa.Engine) -> dict[str, set[str]]:
    """What Alembic does not compare, of SQLite's tables: how they store their rows."""
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'").all()
    return {name: {words for words in ("WITHOUT ROWID", "AUTOINCREMENT") if words in sql} for name, sql in rows}


def test_the_revisions_make_the_tables_of_the_code(settings: Settings, engine: sa.Engine) -> None:
    assert migrate.migrate(settings) == ("", database_tables.REVISION)

    with engine.connect() as connection:
        assert migrate.differences(connection) == []
        assert set(sa.inspect(connection).get_table_names()) == set(database_tables.metadata.tables)


def test_tables_that_a_first_connection_creates_are_those_of_the_newest_revision(
    settings: Settings, engine: sa.Engine
) -> None:
    database_schema.prepare(engine)

    assert revision_of(engine) == database_tables.REVISION
    assert migrate.migrate(settings) == (database_tables.REVISION, database_tables.REVISION)
    with engine.connect() as connection:
        assert migrate.differences(connection) == []


def test_both_ways_store_the_rows_of_sqlite_alike(tmp_path: Path) -> None:
    created, migrated = (f"sqlite:///{tmp_path}/{name}.db" for name in ("created", "migrated"))
    migrate.migrate(Settings(database_url=SecretStr(migrated)))

    assert details(database.connect(created)) == details(database.connect(migrated))


def test_the_code_names_the_newest_revision_and_revisions_are_numbers_in_order() -> None:
    scripts = ScriptDirectory.from_config(migrate._config())
    names = [script.revision for script in scripts.walk_revisions()][::-1]

    assert names == [f"{number:04}" for number in range(1, len(names) + 1)]
    assert names[-1] == database_tables.REVISION


def as_before_migrations(settings: Settings, engine: sa.Engine) -> None:
    """As the last version without revisions made a database."""
    migrate.migrate(settings)
    run(engine, "DROP TABLE ontime_revision")


def test_a_database_of_before_migrations_is_refused_and_then_adopted_with_its_rows(
    settings: Settings, engine: sa.Engine
) -> None:
    as_before_migrations(settings, engine)
    database.record_decision(engine, "gate", "promote", {"version": "1"})
    with pytest.raises(DatabaseRefused, match=r"database schema without a number, this version needs \d{4}: run"):
        database_schema.prepare(engine)

    assert migrate.migrate(settings) == ("", database_tables.REVISION)

    database_schema.prepare(engine)
    rows = decision_chain.all_rows(engine)
    assert [row.verdict for row in rows] == ["promote"]
    assert decision_chain.breaks(rows) == []


def test_a_database_of_the_first_version_gets_tables_indexes_and_the_chain(
    settings: Settings, engine: sa.Engine
) -> None:
    as_before_migrations(settings, engine)
    for verdict in ("promote", "reject"):
        database.record_decision(engine, "gate", verdict, {})
    run(
        engine,
        "ALTER TABLE decisions DROP COLUMN chain",
        "ALTER TABLE decisions DROP COLUMN actor",
        "DROP TABLE dead_letters",
        "DROP INDEX ix_predictions_answered_at_alert_features",
        "CREATE INDEX ix_predictions_answered_at ON predictions (answered_at)",
    )

    migrate.migrate(settings)

    with engine.connect() as connection:
        assert migrate.differences(connection) == []
    rows = decision_chain.all_rows(engine)
    assert [(row.verdict, row.actor) for row in rows] == [("promote", None), ("reject", None)]
    assert decision_chain.breaks(rows) == []


def test_an_index_and_an_optional_field_that_the_problem_declares_later_are_added(
    settings: Settings, engine: sa.Engine
) -> None:
    table = database_tables.entities
    optional = next((column.name for column in table.columns if column.nullable), None)
    migrate.migrate(settings)
    run(engine, *(f"DROP INDEX {index.name}" for index in table.indexes))
    if optional:
        run(engine, f"ALTER TABLE entities DROP COLUMN {optional}")

    migrate.migrate(settings)

    with engine.connect() as connection:
        assert migrate.differences(connection) == []


def test_a_later_revision_than_the_code_knows_is_accepted(settings: Settings, engine: sa.Engine) -> None:
    """The code was rolled back, and the tables were not."""
    migrate.migrate(settings)
    run(engine, "UPDATE ontime_revision SET version_num = '9999'", "ALTER TABLE outcomes ADD COLUMN later VARCHAR")

    database_schema.prepare(engine)

    assert migrate.migrate(settings) == ("9999", "9999")


def test_migrations_that_start_at_the_same_time_run_once(settings: Settings, engine: sa.Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(migrate.migrate, [settings] * 4))

    newest = database_tables.REVISION
    assert sorted(results) == [("", newest), *[(newest, newest)] * 3]
    assert revision_of(engine) == newest


def test_a_migration_that_fails_changes_nothing(
    settings: Settings, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: sa.Connection) -> None:
        raise sa.exc.OperationalError("GRANT", None, Exception("the connection broke"))

    monkeypatch.setattr(grants, "grant", fail)

    with pytest.raises(sa.exc.OperationalError):
        migrate.migrate(settings)

    assert sa.inspect(engine).get_table_names() == []


@pytest.mark.slow
def test_a_table_that_a_statement_has_locked_is_not_waited_for_without_end(
    postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that waits for a lock holds up every request that comes after it."""
    monkeypatch.setattr(migrate, "LOCK_SECONDS", 1)
    settings = Settings(database_url=SecretStr(postgres_server.new_database()))
    engine = database.open_engine(settings.database_url)
    as_before_migrations(settings, engine)
    run(engine, "ALTER TABLE decisions DROP COLUMN chain")

    with engine.begin() as reader:
        reader.exec_driver_sql("LOCK TABLE decisions IN ACCESS SHARE MODE")
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            migrate.migrate(settings)


@pytest.mark.slow
def test_a_new_index_may_take_longer_than_any_statement_of_the_service(postgres_server: Server) -> None:
    engine = migrate._patient_engine(Settings(database_url=SecretStr(postgres_server.new_database())))

    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "0"


def test_a_change_in_the_code_becomes_the_next_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = sa.MetaData()
    for table in database_tables.metadata.sorted_tables:
        table.to_metadata(changed)
    changed.tables["outcomes"].append_column(sa.Column("seen_at", database_tables.UTCTime))
    versions = tmp_path / "migrations"
    shutil.copytree(migrate.MIGRATIONS, versions)
    monkeypatch.setattr(migrate, "MIGRATIONS", versions)
    monkeypatch.setattr(database_tables, "metadata", changed)

    path = migrate.new_revision("when an outcome was seen")

    following = f"{int(database_tables.REVISION) + 1:04}"
    assert path == versions / "versions" / f"r{following}_when_an_outcome_was_seen.py"
    text = path.read_text()
    assert "sa.Column('seen_at', sa.DateTime(timezone=True), nullable=True)" in text
    assert text.startswith('"""When an outcome was seen."""')


def test_the_file_of_a_laptop_is_migrated_where_it_exists(tmp_path: Path) -> None:
    settings = Settings(database_url=SecretStr(f"sqlite:///{tmp_path}/ontime.db"))
    migrate.upgrade_local_file(settings)
    assert list(tmp_path.iterdir()) == []
    engine = database.open_engine(settings.database_url)
    as_before_migrations(settings, engine)

    migrate.upgrade_local_file(settings)

    database_schema.prepare(engine)


def as_role(url: str, role: str) -> sa.Engine:
    return database.open_engine(sa.make_url(url).set(username=role).render_as_string(hide_password=False))


FORBIDDEN = {
    grants.SERVICE: (
        "DELETE FROM predictions", "UPDATE predictions SET alert = true", "INSERT INTO decisions DEFAULT VALUES",
        "DELETE FROM decisions", "INSERT INTO features DEFAULT VALUES", "DELETE FROM outcomes",
        "ALTER TABLE predictions ADD COLUMN x INTEGER", "DROP TABLE shadows", "TRUNCATE predictions",
        "CREATE TABLE mine (x INTEGER)", "SELECT * FROM stream_events", "UPDATE ontime_revision SET version_num = '9'",
    ),
    grants.WORKER: (
        "UPDATE decisions SET verdict = 'promote'", "DELETE FROM decisions", "DROP TABLE shadows",
        "ALTER TABLE predictions ADD COLUMN x INTEGER", "TRUNCATE predictions", "CREATE TABLE mine (x INTEGER)",
        "DELETE FROM ontime_revision",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("role", FORBIDDEN)
def test_a_role_may_do_nothing_but_its_work(role: str, owned: str) -> None:
    engine = as_role(owned, role)

    for statement in FORBIDDEN[role]:
        with pytest.raises(sa.exc.ProgrammingError, match=r"permission denied|must be owner"):
            run(engine, statement)


@pytest.mark.slow
def test_the_role_of_the_jobs_records_decisions_and_deletes_rows(owned: str) -> None:
    engine = as_role(owned, grants.WORKER)

    database_schema.prepare(engine)
    database.record_decision(engine, "gate", "promote", {})
    with engine.begin() as connection:
        for table in database_tables.metadata.sorted_tables:
            if table.name not in ("decisions", "ontime_revision"):
                connection.execute(sa.delete(table))

    assert len(decision_chain.all_rows(engine)) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("owned")
def test_a_role_without_rights_in_an_empty_database_is_told_who_creates_the_tables(postgres_server: Server) -> None:
    empty = postgres_server.new_database()

    with pytest.raises(DatabaseRefused, match=r"permission denied for schema public: run `ontime migrate`"):
        database_schema.prepare(as_role(empty, grants.SERVICE))
