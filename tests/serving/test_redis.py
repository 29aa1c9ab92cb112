"""With look-ups in Redis the answers are those of the database, also while Redis is damaged, away or slow."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import redis as redis_client

from ontime import database
from ontime.datasets import Tables
from ontime.redis_copy import RedisWriter
from ontime.settings import Settings
from pipelines.operations.materialise import materialise_rows
from pipelines.tools import forget
from pipelines.tools.forget import ErasureRefused
from tests import ROOT
from tests.redis_server import RedisServer, running_server
from tests.service import MORNING, Load, Service, environment, running, wait_for
from tests.serving.test_serving import request_of
from tests.small_world import QUESTION, store

pytestmark = pytest.mark.slow

LOOK_UPS = "ontime_looked_up_entities_total"
VARYING = ("prediction_id", "answered_at")  # of an answer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    with running_server(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def copied(on_both: Settings, weeks: pd.DataFrame, tables: Tables, server: RedisServer) -> pd.DataFrame:
    """The flights of two days, in the database and in Redis."""
    rows = store(on_both, weeks, tables)
    copy(on_both, rows, tables, server)
    return rows


def copy(settings: Settings, rows: pd.DataFrame, tables: Tables, server: RedisServer) -> None:
    """Materialise them, as `ontime materialise` does with ONTIME_ONLINE_STORE_URL."""
    engine = database.connect(settings.database_url)
    writer = RedisWriter.of(server.used_by(settings), 90)
    materialise_rows(engine, QUESTION, rows, tables["flights"].set_index("entity_id", drop=False), writer)
    engine.dispose()


def bodies_of(rows: pd.DataFrame, tables: Tables) -> list[dict[str, Any]]:
    flights = tables["flights"].set_index("entity_id").loc[rows["entity_id"]].reset_index()[::19]
    return [request_of(flight) for _, flight in flights.iterrows()]


def answers_of(service: Service, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answers = service.post("/v1/predictions", bodies)
    return [{name: value for name, value in answer.items() if name not in VARYING} for answer in answers]


def looked_up(service: Service) -> dict[str, float]:
    """How many entities, by the store that had to be asked."""
    lines = [line for line in str(service.get("/metrics")).splitlines() if line.startswith(LOOK_UPS)]
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in lines}


def use(server: RedisServer) -> dict[str, str]:
    return {"ONTIME_ONLINE_STORE_URL": server.url}


def test_the_answers_are_the_same_with_redis(
    on_both: Settings, copied: pd.DataFrame, tables: Tables, server: RedisServer
) -> None:
    bodies = [*bodies_of(copied, tables), MORNING]  # the last one has no row
    with running(on_both) as service:
        expected = answers_of(service, bodies)

    with running(on_both, **use(server)) as service:
        answers = answers_of(service, bodies)
        counts = looked_up(service)

    assert answers == expected
    assert {answer["features"] for answer in answers[:-1]} == {"online"}
    assert counts == {"redis": len(bodies) - 1, "database": 1}


def test_values_that_are_missing_or_damaged_are_looked_up_in_the_database(
    settings: Settings, weeks: pd.DataFrame, tables: Tables, server: RedisServer
) -> None:
    rows = store(settings, weeks, tables)
    copy(settings, rows, tables, server)
    bodies = bodies_of(rows, tables)
    with running(settings) as service:
        expected = answers_of(service, bodies)
    client = redis_client.Redis.from_url(server.url)
    for number, key in enumerate(sorted(client.keys())):
        damage: list[Any] = [None, b"", b"\xff" * 300, b"ontime-0" + bytes(200)]
        if number % 5 == 4:
            continue
        client.delete(key)
        if (value := damage[number % 5]) is not None:
            client.set(key, value)

    with running(settings, **use(server)) as service:
        answers = answers_of(service, bodies)
        counts = looked_up(service)

    assert answers == expected
    assert min(counts.values()) > 0


def test_no_request_fails_while_redis_is_killed_and_restarted_under_load(
    on_both: Settings, copied: pd.DataFrame, tables: Tables, server: RedisServer
) -> None:
    (flight,) = bodies_of(copied, tables)[:1]
    with running(on_both, **use(server)) as service:
        expected = answers_of(service, [flight])
        with Load(service.port, flight) as load:
            for _ in range(3):
                time.sleep(0.5)
                server.kill()
                time.sleep(0.5)
                assert answers_of(service, [flight]) == expected
                server.start()
        copy(on_both, copied, tables, server)
        before = looked_up(service)["redis"]
        wait_for(lambda: answers_of(service, [flight]) == expected and looked_up(service)["redis"] > before)
        assert service.metric("ontime_redis_unavailable") == 0

    assert load.failures == []
    assert len(load.answers) > 50


def test_while_redis_hangs_the_database_answers(
    on_both: Settings, copied: pd.DataFrame, tables: Tables, server: RedisServer
) -> None:
    bodies = bodies_of(copied, tables)
    with running(on_both, **use(server)) as service:
        expected = answers_of(service, bodies)
        with server.frozen():
            during = [answers_of(service, bodies) for _ in range(5)]
            unavailable = service.metric("ontime_redis_unavailable")

    assert during == [expected] * 5
    assert unavailable == 1


def test_the_service_starts_without_its_redis(
    on_both: Settings, copied: pd.DataFrame, tables: Tables, server: RedisServer
) -> None:
    bodies = bodies_of(copied, tables)
    server.kill()

    with running(on_both, **use(server)) as service:
        answers = answers_of(service, bodies)

    assert {answer["features"] for answer in answers} == {"online"}


def test_rows_materialised_again_are_the_new_ones_at_once(
    on_both: Settings, copied: pd.DataFrame, tables: Tables, server: RedisServer
) -> None:
    (flight,) = bodies_of(copied, tables)[:1]
    later = copied.assign(moment=copied["moment"] + pd.Timedelta(minutes=5))
    with running(on_both, **use(server)) as service:
        (before,) = answers_of(service, [flight])
        copy(on_both, later, tables, server)
        (after,) = answers_of(service, [flight])
        counts = looked_up(service)

    assert pd.Timestamp(after["features_as_of"]) - pd.Timestamp(before["features_as_of"]) == pd.Timedelta(minutes=5)
    assert counts.get("database", 0) == 0


def test_rows_of_a_writer_without_redis_are_not_looked_up_there(
    on_both: Settings, copied: pd.DataFrame, tables: Tables, server: RedisServer
) -> None:
    (flight,) = bodies_of(copied, tables)[:1]
    engine = database.connect(on_both.database_url)
    later = copied.assign(moment=copied["moment"] + pd.Timedelta(minutes=5))
    with running(on_both, **use(server)) as service:
        (before,) = answers_of(service, [flight])
        materialise_rows(engine, QUESTION, later, tables["flights"].set_index("entity_id", drop=False))
        wait_for(lambda: answers_of(service, [flight])[0]["features_as_of"] != before["features_as_of"], 5)
        (after,) = answers_of(service, [flight])

    assert pd.Timestamp(after["features_as_of"]) - pd.Timestamp(before["features_as_of"]) == pd.Timedelta(minutes=5)


def test_an_erased_entity_leaves_redis(
    on_both: Settings, copied: pd.DataFrame, tables: Tables, server: RedisServer
) -> None:
    engine, entity_id = database.connect(on_both.database_url), copied["entity_id"].iloc[0]
    client = redis_client.Redis.from_url(server.url)
    with running(on_both, **use(server)) as service:
        result = forget.forget(server.used_by(on_both), engine, [entity_id], "a request")
        answers = answers_of(service, bodies_of(copied, tables)[:2])

    assert result.counts["redis"] == 1
    assert client.keys(f"*{entity_id}*") == []
    assert [answer["features"] for answer in answers] == ["request", "online"]


def test_an_erasure_is_refused_while_redis_may_still_hold_the_entity(
    on_both: Settings, copied: pd.DataFrame, server: RedisServer
) -> None:
    engine, entity_id = database.connect(on_both.database_url), copied["entity_id"].iloc[0]
    server.kill()

    with pytest.raises(ErasureRefused, match="Redis is not available"):
        forget.forget(server.used_by(on_both), engine, [entity_id], "a request")

    result = forget.forget(on_both, engine, [entity_id], "a request")
    assert result.counts["features"] == 1
    assert any("run this command with ONTIME_ONLINE_STORE_URL" in line for line in result.lines())


def test_without_the_setting_the_client_is_not_even_imported(settings: Settings) -> None:
    code = "import serving.server, sys; serving.server.create_worker_app(); print('redis' in sys.modules)"

    process = subprocess.run(
        [sys.executable, "-c", code], env=environment(settings), capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert process.stdout.split()[-1] == "False"
