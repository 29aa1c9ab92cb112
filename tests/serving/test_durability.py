"""Every returned prediction is stored: after kill -9, while the database is down, and until the disk is full."""

import fcntl
import json
import random
import re
import shlex
import socket
import sqlite3
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # dvc brings it, and nobody its types
import pytest
import sqlalchemy as sa

from ontime import database, database_tables
from ontime.settings import Settings
from serving import examples
from serving.prediction_log import PredictionLog
from serving.spool import Spool
from tests import postgres
from tests.service import MORNING, Load, Service, running, wait_for

pytestmark = pytest.mark.slow

FLIGHT = MORNING
KILLS = 12


def stored_ids(settings: Settings) -> list[str]:
    """The IDs in the table of predictions."""
    engine = database.connect(settings.database_url)
    try:
        with engine.connect() as connection:
            return list(connection.execute(sa.select(database_tables.predictions.c.prediction_id)).scalars())
    finally:
        engine.dispose()


def waiting_in(spool: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in spool.glob("*.jsonl") for line in path.read_text().splitlines()]


def test_every_returned_prediction_survives_a_killed_service(on_both: Settings) -> None:
    """A dozen times under load, with one worker and with two."""
    answered: list[str] = []
    moments = random.Random(2013)

    for kill in range(KILLS):
        with running(on_both, ONTIME_WORKERS=str(1 + kill % 2)) as service, Load(service.port, FLIGHT) as load:
            time.sleep(moments.uniform(0.2, 0.6))
            service.kill()
        answered += [answer["prediction_id"] for answer in load.answers]

    assert len(answered) > 10 * KILLS
    assert len(set(answered)) == len(answered)
    with running(on_both):  # takes over what a killed one has left in the spool because the database was busy
        wait_for(lambda: set(answered) <= set(stored_ids(on_both)))


def test_workers_share_the_database(on_both: Settings) -> None:
    with running(on_both, ONTIME_WORKERS="2") as service:
        with Load(service.port, FLIGHT) as load:
            wait_for(lambda: len(load.answers) > 500 or bool(load.failures))
        counted = service.metric("ontime_predictions_total")
        traffic = service.get("/v1/ops")["traffic"]
        service.stop()

    assert load.failures == []
    assert sorted(stored_ids(on_both)) == sorted(answer["prediction_id"] for answer in load.answers)
    assert counted == len(load.answers)  # whichever worker returned the metrics
    assert traffic["predictions"] == sum(each["predictions"] for each in traffic["by_minute"]) == counted


def test_while_postgresql_is_down_predictions_are_returned_and_stored_once(settings: Settings) -> None:
    with postgres.running() as server:
        away = settings.model_copy(
            update={
                "database_url": type(settings.database_url)(server.new_database()),
                "database_patience_seconds": 1.0,
            }
        )
        with running(away) as service:
            before = service.post("/v1/predictions", FLIGHT)
            server.stop()
            during = [service.post("/v1/predictions", FLIGHT) for _ in range(20)]
            ready, metric, spooled = (
                service.get("/health/ready"),
                service.metric("ontime_database_unavailable"),
                waiting_in(away.spool),
            )
            outcome = service.ask("POST", "/v1/outcomes", examples.OUTCOME)
            page = service.get("/v1/ops")
            server.start()
            wait_for(lambda: service.get("/health/ready")["notes"] == [])
            after = service.post("/v1/predictions", FLIGHT)
            assert service.metric("ontime_database_unavailable") == service.metric("ontime_spool_predictions") == 0
            service.stop()
        ids = stored_ids(away)

    assert all("store_unavailable" in answer["flags"] for answer in during)
    assert ready["notes"] == ["the database is down: 20 predictions are in the spool"]
    assert (metric, len(spooled)) == (1, 20)
    assert outcome[0] == 503
    assert (page["traffic"], page["decisions"], page["notes"]) == (None, [], ready["notes"])
    assert ids == [answer["prediction_id"] for answer in (before, *during, after)]


def test_while_postgresql_does_not_respond_predictions_are_returned_and_stored_once(settings: Settings) -> None:
    """As with a network that drops every packet: the server enforces no limit of its own."""
    with postgres.running() as server:
        url = type(settings.database_url)(server.new_database())
        frozen = settings.model_copy(update={"database_url": url, "database_patience_seconds": 1.0})
        with running(frozen) as service:
            answers = [service.post("/v1/predictions", FLIGHT)]
            with server.frozen():
                answers += [service.post("/v1/predictions", FLIGHT) for _ in range(20)]
                ready = service.get("/health/ready")
            wait_for(lambda: service.get("/health/ready")["notes"] == [])
            answers.append(service.post("/v1/predictions", FLIGHT))
            service.stop()
        ids = stored_ids(frozen)

    assert ready["notes"] == ["the database is down: 20 predictions are in the spool"]
    assert ids == [answer["prediction_id"] for answer in answers]


def test_an_idle_service_notices_that_the_database_is_down(settings: Settings) -> None:
    with postgres.running() as server:
        url = type(settings.database_url)(server.new_database())
        with running(settings.model_copy(update={"database_url": url})) as service:
            server.stop()
            wait_for(lambda: service.get("/health/ready")["notes"] != [])
            server.start()
            wait_for(lambda: service.get("/health/ready")["notes"] == [])
            service.stop()


def test_while_sqlite_is_locked_predictions_are_returned_and_stored_once(settings: Settings) -> None:
    hasty = settings.model_copy(update={"database_patience_seconds": 0.2})
    with running(hasty) as service:
        other = sqlite3.connect(
            settings.database_url.get_secret_value().removeprefix("sqlite:///"), isolation_level=None
        )
        other.execute("BEGIN EXCLUSIVE")
        during = [service.post("/v1/predictions", FLIGHT) for _ in range(5)]
        ready = service.get("/health/ready")
        other.execute("ROLLBACK")
        other.close()
        wait_for(lambda: service.get("/health/ready")["notes"] == [])
        service.stop()

    assert ready["notes"] == ["the database is down: 5 predictions are in the spool"]
    assert stored_ids(settings) == [answer["prediction_id"] for answer in during]
    assert list(settings.spool.iterdir()) == []


def test_the_spool_of_a_killed_service_is_taken_over_by_the_next(settings: Settings) -> None:
    hasty = settings.model_copy(update={"database_patience_seconds": 0.2})
    path = settings.database_url.get_secret_value().removeprefix("sqlite:///")
    with running(hasty) as service:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        answers = [service.post("/v1/predictions", FLIGHT) for _ in range(3)]
        service.kill()
        other.close()
    assert stored_ids(settings) == []

    with running(hasty) as service:
        wait_for(lambda: len(stored_ids(settings)) == 3)
        service.stop()

    assert stored_ids(settings) == [answer["prediction_id"] for answer in answers]
    assert list(settings.spool.iterdir()) == []


def database_path(settings: Settings) -> Path:
    return Path(settings.database_url.get_secret_value().removeprefix("sqlite:///"))


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_files_of_the_database_that_are_deleted_under_load_lose_no_later_answer(
    suffix: str, settings: Settings
) -> None:
    """SQLite goes on writing to a deleted file. Its service is killed, so only what is on disk counts."""
    path = database_path(settings)
    with running(settings) as service:
        before = [service.post("/v1/predictions", FLIGHT) for _ in range(20)]
        Path(f"{path}{suffix}").unlink()
        with Load(service.port, FLIGHT) as load:
            wait_for(lambda: len(load.answers) > 200 or bool(load.failures))
            failures = list(load.failures)  # the kill itself cuts requests off, in whatever way
            service.kill()
    with running(settings) as service:
        wait_for(lambda: len(waiting_in(settings.spool)) == 0)
        service.stop()
    answered = {answer["prediction_id"] for answer in load.answers}

    assert failures == []
    assert answered <= set(stored_ids(settings))
    if suffix:  # the file itself is there, and so is what was in its log
        assert {answer["prediction_id"] for answer in before} <= set(stored_ids(settings))


def test_a_deleted_database_file_is_noticed_without_traffic(settings: Settings) -> None:
    with running(settings) as service:
        database_path(settings).unlink()
        wait_for(lambda: database_path(settings).exists())  # it was reopened
        wait_for(lambda: service.get("/health/ready")["notes"] == [])
        answer = service.post("/v1/predictions", FLIGHT)
        service.stop()
        output = service.output()

    assert "was deleted while it was open" in output
    assert stored_ids(settings) == [answer["prediction_id"]]


def test_a_prediction_that_reaches_the_spool_after_the_database_has_returned_is_written(settings: Settings) -> None:
    """As a batch does that began while the database was down."""
    log = PredictionLog(database.connect(settings.database_url), Spool(settings.spool))
    log.start()
    row = {
        **dict.fromkeys(["prediction_id", "entity_id", "model_version", "features"], "x"),
        "probability": 0.5,
        "alert": False,
        "latency_ms": 1.0,
        "vector": b"",
        "answered_at": datetime(2013, 1, 1, tzinfo=UTC),
    }

    log.spool.append([row])

    wait_for(lambda: len(log.spool) == 0)
    log.stop()
    assert stored_ids(settings) == ["x"]


def test_a_damaged_spool_stops_neither_the_start_nor_the_rest_of_it(settings: Settings) -> None:
    """Half a million rows of a killed service would also be ready at once: they are drained beside the requests."""
    settings.spool.mkdir(parents=True)
    (settings.spool / "damaged.jsonl").write_bytes(b'{"prediction_id": "1"}\nnothing\n{"unfinished')
    row = {
        **dict.fromkeys(["entity_id", "model_version", "features"], "x"),
        "probability": 0.5,
        "alert": False,
        "latency_ms": 1,
        "vector": "",
        "answered_at": "2013-01-01T00:00:00+00:00",
    }
    rows = [json.dumps({"prediction_id": f"{number:032}", **row}) for number in range(3000)]
    (settings.spool / "whole.jsonl").write_text("\n".join([*rows, json.dumps({**row, "prediction_id": 7})]) + "\n")

    with running(settings) as service:
        wait_for(lambda: not (settings.spool / "whole.jsonl").exists())
        answer = service.post("/v1/predictions", FLIGHT)
        service.stop()

    rejected = [
        json.loads(line) for path in settings.spool.glob("rejected/*") for line in path.read_text().splitlines()
    ]
    assert len(stored_ids(settings)) == 3001
    assert answer["prediction_id"] in stored_ids(settings)
    assert len(rejected) == 3
    assert "prediction_id is not of type str" in {each["reason"] for each in rejected}


@pytest.mark.parametrize(
    "fault",
    [
        "DROP TABLE predictions",
        "DROP TABLE features",
        "CREATE TRIGGER full BEFORE INSERT ON predictions BEGIN SELECT RAISE(ABORT, 'no room'); END",
    ],
)
def test_with_broken_tables_predictions_are_returned_and_stored(fault: str, settings: Settings) -> None:
    with running(settings) as service:
        engine = database.connect(settings.database_url)
        with engine.begin() as connection:
            connection.execute(sa.text(fault))
        answer = service.post("/v1/predictions", FLIGHT)
        if "TRIGGER" in fault:
            time.sleep(2)  # the service tries twice a second
            assert list(settings.spool.glob("rejected/*")) == []
            with engine.begin() as connection:
                connection.execute(sa.text("DROP TRIGGER full"))
        wait_for(lambda: stored_ids(settings) == [answer["prediction_id"]])
        service.stop()


class SmallDisk(Service):
    """A service whose files cannot grow beyond 300 kB (bash counts in those), as on a disk that is nearly full."""

    def __init__(self, settings: Settings) -> None:
        limited = f"ulimit -f 300; exec {shlex.quote(sys.executable)} -m serving"
        super().__init__(settings, command=["bash", "-c", limited])


def test_on_a_full_disk_the_service_answers_503_until_there_is_space(settings: Settings) -> None:
    answered, status = [], 200
    service = SmallDisk(settings).wait_until_ready()
    try:
        while status == 200:
            status, response = service.ask("POST", "/v1/predictions", [FLIGHT] * 20)
            answered += [each["prediction_id"] for each in response] if status == 200 else []
        looks = []
        for _ in range(20):
            looks.append((service.ask("GET", "/health/ready"), service.metric("ontime_ready")))
            service.ask("POST", "/v1/predictions", [FLIGHT] * 20)
            time.sleep(0.1)
        alive = service.ask("GET", "/health/live")
    finally:
        service.kill()
    log = service.output()
    with running(settings) as roomy:
        wait_for(lambda: set(answered) <= set(stored_ids(settings)))
        after = roomy.post("/v1/predictions", FLIGHT)
        roomy.stop()

    assert status == 503
    assert re.fullmatch(
        r"could not be stored: .* spool cannot be written \((File too large|No space.*)\); retry",
        response["detail"][0]["reason"],
    )
    assert [(answer[0], metric) for answer, metric in looks] == [(503, 0)] * 20
    assert {answer[1]["detail"][0]["place"] for answer, _ in looks} == {"predictions"}
    assert alive[0] == 200
    assert log.count("spool: ") == 1
    assert len(answered) > 100
    assert sorted(stored_ids(settings)) == sorted([*answered, after["prediction_id"]])


def test_a_stopping_service_finishes_pending_requests(settings: Settings) -> None:
    body = json.dumps(FLIGHT).encode()
    head = f"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    with running(settings) as service, socket.create_connection(("127.0.0.1", service.port), timeout=30) as caller:
        caller.sendall(head.encode() + body[:40])
        time.sleep(0.2)
        service.process.terminate()
        time.sleep(0.2)
        caller.sendall(body[40:])
        answer = b"".join(iter(lambda: caller.recv(65536), b""))
        service.process.wait(timeout=30)

    assert answer.startswith(b"HTTP/1.1 200")
    assert stored_ids(settings) == [json.loads(answer.partition(b"\r\n\r\n")[2])["prediction_id"]]
    assert service.process.returncode == 0


def test_an_unfinished_request_does_not_block_a_stop(settings: Settings) -> None:
    with (
        running(settings, ONTIME_STOP_SECONDS="1") as service,
        socket.create_connection(("127.0.0.1", service.port)) as caller,
    ):
        caller.sendall(b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.2)

        service.stop()

    assert service.process.poll() is not None


def test_a_reader_of_the_log_that_has_stalled_delays_no_response(settings: Settings) -> None:
    """The pipe is as small as the system allows, and nobody reads it."""
    with running(settings) as service:
        assert service.process.stdout is not None
        if hasattr(fcntl, "F_SETPIPE_SZ"):  # of Linux; elsewhere a pipe is small enough
            fcntl.fcntl(service.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        for _ in range(300):
            service.post("/v1/predictions", FLIGHT)
        ready = service.ask("GET", "/health/ready")
        service.stop()

    assert ready[0] == 200
    assert len(stored_ids(settings)) == 300


def test_workers_end_with_a_killed_supervisor_and_free_the_port(settings: Settings) -> None:
    with running(settings, ONTIME_WORKERS="2") as service:
        supervisor = psutil.Process(service.process.pid)
        wait_for(lambda: len(supervisor.children()) >= 3)  # with the resource tracker of multiprocessing
        workers = supervisor.children(recursive=True)
        service.process.kill()
        gone, alive = psutil.wait_procs(workers, timeout=30)

    assert len(gone) >= 2
    assert alive == []
    with socket.create_server(("127.0.0.1", service.port)):
        pass
