"""Databases that freeze, lose their files or have no space, and a spool of 400,000 rows."""

import base64
import json
import time
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread

from pydantic import SecretStr

from ontime import schema
from ontime.problem import PROBLEM
from ontime.settings import Settings
from tests import postgres
from tests.e2e.faults.report import Figures
from tests.e2e.faults.world import (
    Attack,
    drain_spool,
    ids_of,
    longest_wait_ms,
    losses,
    on_postgresql,
    statuses,
    wait_until_normal,
)
from tests.service import MORNING, Load, running, wait_for
from tests.serving.test_connection import memory_mb
from tests.serving.test_durability import SmallDisk, database_path, stored_ids

FROZEN_SECONDS = 25
LIST_CALLERS, LIST_ENTITIES, LIST_PATIENCE_SECONDS = 8, 1000, 5.0
DELETIONS = 4
ON_THEIR_WAY_SECONDS = 0.1  # of responses whose predictions were committed before the deletion
SPOOL_ROWS = 400_000
FULL_DISK_LOOKS = 20


def freeze_postgresql(settings: Settings) -> Figures:
    with postgres.running() as server:
        frozen = on_postgresql(settings, server)
        with running(frozen) as service, Load(service.port, MORNING) as load:
            time.sleep(2)
            with server.frozen():
                frozen_at = time.time()
                time.sleep(FROZEN_SECONDS)
            thawed_at = time.time()
            wait_until_normal(service)
            normal_at = time.time()
            time.sleep(1)
        meanwhile = [at for at, _ in load.arrivals if frozen_at + 0.1 < at < thawed_at]
        return {
            "seconds until the first answer": round(min(meanwhile) - frozen_at, 1),
            "answers meanwhile": len(meanwhile),
            "statuses of all requests": statuses(load),
            **losses(frozen, ids_of(load)),
            "seconds until normal after its return": round(normal_at - thawed_at, 1),
        }


class ListCallers:
    """Clients that send lists of 1000, and disconnect after LIST_PATIENCE_SECONDS without a response."""

    def __init__(self, port: int) -> None:
        self.answered: list[str] = []
        self.left = 0
        self._port, self._over = port, Event()
        self._threads = [Thread(target=self._run) for _ in range(LIST_CALLERS)]

    def __enter__(self) -> "ListCallers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def _run(self) -> None:
        body = json.dumps([MORNING] * LIST_ENTITIES)
        while not self._over.is_set():
            connection = HTTPConnection("127.0.0.1", self._port, timeout=LIST_PATIENCE_SECONDS)
            try:
                connection.request("POST", "/v1/predictions", body)
                response = connection.getresponse()
                content = json.loads(response.read())
                if response.status == 200:
                    self.answered += [each["prediction_id"] for each in content]
            except OSError:
                self.left += 1
            finally:
                connection.close()


def freeze_postgresql_under_lists(settings: Settings) -> Figures:
    with postgres.running() as server:
        frozen = on_postgresql(settings, server)
        with running(frozen) as service:
            before_mb = memory_mb(service)
            with ListCallers(service.port) as callers:
                time.sleep(2)
                loaded_mb = memory_mb(service)
                with server.frozen():
                    time.sleep(FROZEN_SECONDS)
                thawed_at = time.monotonic()
                first = service.ask("POST", "/v1/predictions", MORNING)
                first_seconds = time.monotonic() - thawed_at
            wait_until_normal(service)
            most_mb = memory_mb(service)
        stored = set(stored_ids(frozen)) - ({first[1]["prediction_id"]} if first[0] == 200 else set())
        return {
            "lists answered": len(callers.answered) // LIST_ENTITIES,
            "callers who left": callers.left,
            "predictions stored for callers who left": len(stored - set(callers.answered)),
            **losses(frozen, callers.answered),
            "memory in MB when idle": round(before_mb),
            "under lists": round(loaded_mb),
            "at most": round(most_mb),
            "seconds until a single request is answered after its return": round(first_seconds, 1),
        }


def _delete_under_load(settings: Settings, suffix: str) -> Figures:
    """The service is killed a second later."""
    before, lost_before, after, lost_after = 0, 0, 0, 0
    for number in range(DELETIONS):
        url = SecretStr(f"{settings.database_url.get_secret_value()}.{number}")
        own = settings.model_copy(update={"database_url": url, "spool": settings.spool / str(number)})
        with running(own) as service, Load(service.port, MORNING) as load:
            wait_for(lambda load=load: len(load.answers) > 100)  # type: ignore[misc]
            Path(f"{database_path(own)}{suffix}").unlink()
            deleted_at = time.time()
            time.sleep(1)
            service.kill()
        drain_spool(own)
        stored = set(stored_ids(own))
        for answer, (arrived_at, _) in zip(load.answers, load.arrivals, strict=True):
            is_lost = answer["prediction_id"] not in stored
            if arrived_at < deleted_at + ON_THEIR_WAY_SECONDS:
                before, lost_before = before + 1, lost_before + is_lost
            else:
                after, lost_after = after + 1, lost_after + is_lost
    return {
        "deletions": DELETIONS,
        "predictions answered before": before,
        "of these lost": lost_before,
        "answered after": after,
        "of those lost": lost_after,
    }


def delete_log_of_sqlite(settings: Settings) -> Figures:
    return _delete_under_load(settings, "-wal")


def delete_file_of_sqlite(settings: Settings) -> Figures:
    return _delete_under_load(settings, "")


def _spooled_rows() -> str:
    """As a killed service leaves them: lines of JSON, with vectors of the model's width."""
    vector = base64.b64encode(bytes(4 * len(schema.FEATURE_NAMES))).decode()
    row = {
        "entity_id": PROBLEM.example_outcome["entity_id"],
        "answered_at": "2013-01-01T00:00:00+00:00",
        "model_version": "1",
        "probability": 0.5,
        "alert": False,
        "features": "request",
        "vector": vector,
        "latency_ms": 1.5,
    }
    return "".join(json.dumps({"prediction_id": f"{number:032}", **row}) + "\n" for number in range(SPOOL_ROWS))


def start_with_large_spool(settings: Settings) -> Figures:
    settings.spool.mkdir(parents=True)
    (settings.spool / "killed.jsonl").write_text(_spooled_rows())
    started_at = time.monotonic()
    with running(settings) as service:
        service.post("/v1/predictions", MORNING)
        first_seconds = time.monotonic() - started_at
        with Load(service.port, MORNING, callers=1) as load:
            wait_for(lambda: not (settings.spool / "killed.jsonl").exists(), 600)
            drained_seconds = time.monotonic() - started_at
        peak_mb = memory_mb(service)
        service.stop()
    return {
        "rows": SPOOL_ROWS,
        "seconds from the start to the first answer": round(first_seconds, 1),
        "seconds until all rows are in the database": round(drained_seconds),
        "rows in the database": len(stored_ids(settings)) - len(load.answers) - 1,
        "peak memory in MB": round(peak_mb),
        "longest wait of a caller meanwhile in ms": longest_wait_ms(load),
    }


def fill_disk(settings: Settings) -> Figures:
    answered, status = list[str](), 200
    service = SmallDisk(settings).wait_until_ready()
    try:
        while status == 200:
            status, response = service.ask("POST", "/v1/predictions", [MORNING] * 20)
            answered += [each["prediction_id"] for each in response] if status == 200 else []
        looks = []
        for _ in range(FULL_DISK_LOOKS):
            looks.append(service.ask("GET", "/health/ready")[0])
            time.sleep(0.1)
    finally:
        service.kill()
    drain_spool(settings)
    return {
        "status of the first request that cannot be stored": status,
        f"readiness says 503, of {FULL_DISK_LOOKS} looks": looks.count(503),
        **losses(settings, answered),
    }


ATTACKS = [
    Attack(f"PostgreSQL frozen (SIGSTOP) for {FROZEN_SECONDS} s under load", freeze_postgresql),
    Attack("the same under lists of 1000, whose callers leave after 5 s", freeze_postgresql_under_lists),
    Attack("SQLite's write-ahead log deleted under load, then kill -9", delete_log_of_sqlite),
    Attack("SQLite's file deleted under load (with what is in it), then kill -9", delete_file_of_sqlite),
    Attack("start with a spool of 400,000 rows", start_with_large_spool),
    Attack("a full disk (files of at most 300 kB)", fill_disk),
]
