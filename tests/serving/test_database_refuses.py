"""A database that is away is waited for, also by a start; one that refuses statements stops a rollout."""

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from ontime import database, database_tables
from ontime.database_errors import is_invalid_row, is_refusal
from ontime.database_schema import MIGRATE
from ontime.settings import Settings
from pipelines.operations import grants, migrate
from serving import examples
from serving.spool import SpoolHangs, open_spool
from tests import postgres
from tests.service import MORNING, Service, running, wait_for

FLIGHT = MORNING


def with_database(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(url), "database_patience_seconds": 1.0})


def stored_ids(url: str) -> list[str]:
    engine = database.open_engine(url)
    try:
        with engine.connect() as connection:
            return list(connection.execute(sa.select(database_tables.predictions.c.prediction_id)).scalars())
    finally:
        engine.dispose()


def execute(url: str, *statements: str) -> None:
    engine = database.open_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def files_in(spool: Path) -> list[str]:
    return [line for path in spool.glob("*.jsonl") for line in path.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_that_starts_while_postgresql_is_down_answers_and_stores_once_it_is_back(
    workers: str, settings: Settings
) -> None:
    """As a pod does that replaces another one during an outage."""
    with postgres.running() as server:
        url = server.new_database()
        away = with_database(settings, url)
        with running(away, ONTIME_WORKERS=workers) as service:
            answers = [service.post("/v1/predictions", FLIGHT)]
            server.stop()
            answers.append(service.post("/v1/predictions", FLIGHT))
            service.kill()

        with running(away, ONTIME_WORKERS=workers) as service:
            ready = service.ask("GET", "/health/ready")
            wait_for(lambda: service.metric("ontime_ready") == 1)  # of all workers, of which one may still start
            during = [service.post("/v1/predictions", FLIGHT) for _ in range(10)]
            server.start()
            expected = sorted(each["prediction_id"] for each in [*answers, *during])
            wait_for(lambda: service.get("/health/ready")["notes"] == [])
            wait_for(lambda: sorted(stored_ids(url)) == expected)
            wait_for(lambda: files_in(away.spool) == [])
            service.stop()

    assert ready[0] == 200
    assert all("store_unavailable" in each["flags"] for each in during)


@pytest.mark.slow
def test_services_that_start_on_an_empty_database_at_the_same_time_create_the_tables_once(
    settings: Settings, postgres_server: postgres.Server
) -> None:
    shared = with_database(settings, postgres_server.new_database())
    services = [Service(shared) for _ in range(4)]
    try:
        for service in services:
            service.wait_until_ready()
        statuses = [service.ask("POST", "/v1/predictions", FLIGHT)[0] for service in services]
        ready = [service.ask("GET", "/health/ready") for service in services]
    finally:
        for service in services:
            service.kill()

    assert statuses == [200] * 4
    assert [(status, answer["notes"]) for status, answer in ready] == [(200, [])] * 4


@pytest.fixture(params=("sqlite", "postgresql"))
def migrated(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "postgresql":
        settings = with_database(settings, request.getfixturevalue("postgres_server").new_database())
    migrate.migrate(settings)
    return settings


@pytest.mark.slow
def test_a_table_that_lacks_a_column_stops_answers_until_it_has_it(migrated: Settings) -> None:
    """The next version of the code on the tables of this one: no row could ever be stored."""
    url = migrated.database_url.get_secret_value()
    with running(migrated) as service:
        service.post("/v1/predictions", FLIGHT)
        execute(url, "ALTER TABLE predictions RENAME COLUMN latency_ms TO duration_ms")
        refused = service.ask("POST", "/v1/predictions", FLIGHT)
        ready, live = service.ask("GET", "/health/ready"), service.ask("GET", "/health/live")
        metric = service.metric("ontime_database_refuses"), service.metric("ontime_database_unavailable")
        measured = [service.metric("ontime_ready")]
        page = service.get("/v1/ops")
        spooled = files_in(migrated.spool)
        execute(url, "ALTER TABLE predictions RENAME COLUMN duration_ms TO latency_ms")
        wait_for(lambda: service.ask("GET", "/health/ready")[0] == 200)
        measured.append(service.metric("ontime_ready"))
        after = service.post("/v1/predictions", FLIGHT)
        service.stop()

    assert refused[0] == 503
    assert measured == [0, 1]
    assert (ready[0], live[0], page["ready"]) == (503, 200, False)
    assert metric == (1, 0)
    assert spooled == []
    assert stored_ids(url)[-1] == after["prediction_id"]
    assert len(stored_ids(url)) == 2


@pytest.mark.slow
def test_a_service_on_tables_of_an_earlier_version_is_not_ready_until_they_are_migrated(
    settings: Settings, postgres_server: postgres.Server
) -> None:
    url = postgres_server.new_database()
    outdated = with_database(settings, url)
    migrate.migrate(outdated)
    execute(url, "UPDATE ontime_revision SET version_num = '0001'")
    with running(outdated) as service:
        ready, live = service.ask("GET", "/health/ready"), service.ask("GET", "/health/live")
        refused = service.ask("POST", "/v1/predictions", FLIGHT)
        migrate.migrate(outdated)
        wait_for(lambda: service.ask("GET", "/health/ready")[0] == 200)
        service.post("/v1/predictions", FLIGHT)
        service.stop()

    newest = database_tables.REVISION
    reason = f"database schema 0001, this version needs {newest}: {MIGRATE}"
    assert ready == (503, {"detail": [{"place": "predictions", "reason": reason}]})
    assert (live[0], refused[0]) == (200, 503)


@pytest.mark.slow
def test_a_service_refuses_a_file_of_an_earlier_version_at_start(settings: Settings) -> None:
    migrate.migrate(settings)
    execute(settings.database_url.get_secret_value(), "UPDATE ontime_revision SET version_num = '0001'")

    service = Service(settings)
    service.process.wait(timeout=30)

    assert service.process.returncode == 1
    assert f"database schema 0001, this version needs {database_tables.REVISION}: run" in service.output()


@pytest.mark.slow
def test_the_role_of_the_service_is_enough_for_every_request(settings: Settings, owned: str) -> None:
    url = sa.make_url(owned).set(username=grants.SERVICE).render_as_string(hide_password=False)
    limited = with_database(settings, url)
    with running(limited) as service:
        answer = service.post("/v1/predictions", FLIGHT)
        outcomes = [service.ask("POST", "/v1/outcomes", examples.OUTCOME)[0] for _ in range(2)]
        pages = [
            service.ask("GET", path)[0] for path in ("/v1/ops", "/metrics", f"/v1/entities?q={answer['entity_id']}")
        ]
        ready = service.ask("GET", "/health/ready")
        service.stop()

    assert stored_ids(owned) == [answer["prediction_id"]]
    assert outcomes == [200, 200]
    assert 503 not in pages
    assert (ready[0], ready[1]["notes"]) == (200, [])


@pytest.mark.slow
def test_a_role_that_lost_a_right_is_noticed_before_a_prediction_is_lost(settings: Settings, owned: str) -> None:
    limited = with_database(
        settings, sa.make_url(owned).set(username=grants.SERVICE).render_as_string(hide_password=False)
    )
    execute(owned, f"REVOKE INSERT ON predictions FROM {grants.SERVICE}")
    with running(limited) as service:
        before = service.ask("GET", "/health/ready")
        migrate.migrate(with_database(settings, owned))
        wait_for(lambda: service.ask("GET", "/health/ready")[0] == 200)
        service.stop()

    assert before[0] == 503


def lock(url: SecretStr) -> sqlite3.Connection:
    other = sqlite3.connect(url.get_secret_value().removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    return other


@pytest.mark.slow
def test_a_stop_waits_for_the_database_to_take_the_spool_of_a_container_that_ends(settings: Settings) -> None:
    hasty = settings.model_copy(update={"database_patience_seconds": 0.2})
    with running(hasty, ONTIME_SPOOL_DRAIN_SECONDS="30") as service:
        other = lock(settings.database_url)
        answers = [service.post("/v1/predictions", FLIGHT) for _ in range(3)]
        service.process.terminate()
        time.sleep(1)
        still_running = service.process.poll() is None
        other.close()
        service.process.wait(timeout=30)

    assert still_running
    assert stored_ids(settings.database_url.get_secret_value()) == [each["prediction_id"] for each in answers]
    assert list(settings.spool.iterdir()) == []


@pytest.mark.slow
def test_a_stop_says_which_predictions_remain_if_the_database_does_not_return_in_time(settings: Settings) -> None:
    hasty = settings.model_copy(update={"database_patience_seconds": 0.2})
    with running(hasty, ONTIME_SPOOL_DRAIN_SECONDS="1") as service:
        other = lock(settings.database_url)
        for _ in range(3):
            service.post("/v1/predictions", FLIGHT)
        service.stop()
        other.close()
        output = service.output()

    assert len(files_in(settings.spool)) == 3
    assert "3 predictions remain" in output


@pytest.mark.slow
def test_the_age_of_the_oldest_prediction_in_the_spool_grows_until_it_is_stored(settings: Settings) -> None:
    hasty = settings.model_copy(update={"database_patience_seconds": 0.2})
    with running(hasty) as service:
        other = lock(settings.database_url)
        service.post("/v1/predictions", FLIGHT)
        wait_for(lambda: service.metric("ontime_spool_oldest_seconds") > 1)
        other.close()
        wait_for(lambda: service.metric("ontime_spool_oldest_seconds") == 0)
        service.stop()


def test_a_spool_whose_disk_hangs_ends_the_start_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr("serving.spool.Spool._open_file", lambda _: release.wait())

    with pytest.raises(SpoolHangs, match=r"spool does not respond within 0\.1 seconds"):
        open_spool(tmp_path / "spool", 0.1)

    release.set()


def test_a_spool_that_cannot_be_opened_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="File exists"):
        open_spool(tmp_path / "file" / "spool")


def error_of(engine: sa.Engine, statement: str) -> sa.exc.SQLAlchemyError:
    with pytest.raises(sa.exc.SQLAlchemyError) as caught, engine.connect() as connection:
        connection.exec_driver_sql(statement)
    return caught.value


REFUSED = ("INSERT INTO outcomes (nothing) VALUES (1)", "SELECT nothing FROM outcomes", "SELECT FROM FROM")


@pytest.mark.slow
def test_a_statement_that_fails_each_time_is_a_refusal_on_both_databases(migrated: Settings) -> None:
    engine = database.connect(migrated.database_url)

    assert [is_refusal(error_of(engine, statement)) for statement in REFUSED] == [True] * 3
    duplicate = error_of(engine, "INSERT INTO hash_keys (key) VALUES (NULL)") if engine.name == "postgresql" else None
    assert duplicate is None or (is_invalid_row(duplicate), is_refusal(duplicate)) == (True, False)
    engine.dispose()


SERVER_ERRORS: list[tuple[Any, bool]] = [
    (psycopg.errors.AdminShutdown, False),
    (psycopg.errors.QueryCanceled, False),  # a statement that took too long
    (psycopg.errors.LockNotAvailable, False),
    (psycopg.errors.SerializationFailure, False),
    (psycopg.errors.DiskFull, False),
    (psycopg.errors.TooManyConnections, False),
    (psycopg.errors.ReadOnlySqlTransaction, False),  # a standby, until the failover is complete
    (psycopg.errors.InvalidPassword, False),
    (psycopg.InterfaceError, False),
    (psycopg.errors.UndefinedColumn, True),
    (psycopg.errors.UndefinedTable, True),
    (psycopg.errors.InsufficientPrivilege, True),
    (psycopg.errors.DatatypeMismatch, True),
]


@pytest.mark.parametrize(("error", "refuses"), SERVER_ERRORS)
def test_errors_of_postgresql_are_an_outage_or_a_refusal(error: type[psycopg.Error], refuses: bool) -> None:
    wrapped = sa.exc.DBAPIError.instance("INSERT", None, error("no"), psycopg.Error)

    assert is_refusal(wrapped) == refuses
