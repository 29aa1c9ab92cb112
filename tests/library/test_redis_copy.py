"""The copy in Redis: look-ups return what the database has, whatever happens to writers, to values and to Redis."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import redis as redis_client
import sqlalchemy as sa
from numpy.typing import NDArray
from pydantic import SecretStr

from ontime import database, online_store, redis_copy, redis_values, schema
from ontime.decision_chain import exclusive_transaction
from ontime.declaration import Question
from ontime.online_store import Stored
from ontime.redis_connection import RedisConnection, RedisFailed
from ontime.redis_copy import MarkedRows, RedisReader, RedisWriter
from ontime.redis_values import Validity
from tests import postgres
from tests.redis_server import RedisServer, running_server

pytestmark = pytest.mark.slow

QUESTION = Question(15, 60)
MOMENT = datetime(2013, 2, 18, 9, 30, 0, 123456, tzinfo=UTC)
DAY_SECONDS = 24 * 3600


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    client_of(shared_server).flushall()
    return shared_server


@pytest.fixture(params=postgres.DATABASES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    url = f"sqlite:///{tmp_path}/ontime.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").new_database()
    engine = database.connect(url)
    yield engine
    engine.dispose()


def client_of(server: RedisServer) -> "redis_client.Redis":
    return redis_client.Redis.from_url(server.url)


def writer_to(server: RedisServer) -> RedisWriter:
    return RedisWriter(RedisConnection(SecretStr(server.url), timeout_s=1, pause_s=0), DAY_SECONDS)


def reader_of(server: RedisServer, engine: sa.Engine) -> RedisReader:
    reader = RedisReader(RedisConnection(SecretStr(server.url), timeout_s=1, pause_s=0))
    reader.read_epochs(engine)
    return reader


def vector(value: float) -> NDArray[np.float32]:
    made = np.full(len(schema.ONLINE), value, np.float32)
    made[0] = np.nan
    return made


def write(engine: sa.Engine, writer: RedisWriter, value: float, ids: tuple[str, ...] = ("a", "b")) -> MarkedRows:
    """Rows with that value, committed, but not yet published."""
    with engine.begin() as connection:
        return _write_in(connection, writer, value, ids)


def _write_in(connection: sa.Connection, writer: RedisWriter, value: float, ids: tuple[str, ...]) -> MarkedRows:
    moments, vectors = [MOMENT] * len(ids), np.stack([vector(value)] * len(ids))
    online_store.store_features(connection, QUESTION, ids, moments, vectors)
    return writer.mark(connection, QUESTION, ids, moments, vectors)


def content(rows: dict[str, Stored]) -> dict[str, Any]:
    return {each: (row.moment, row.online.vector.tobytes(), row.online.texts) for each, row in rows.items()}


def test_the_rows_are_those_of_the_database_bit_for_bit(engine: sa.Engine, server: RedisServer) -> None:
    write(engine, writer_to(server), 0.1).publish()

    copied = reader_of(server, engine).look_up(QUESTION, ["a", "b", "unknown"])

    assert content(copied) == content(online_store.look_up_features(engine, QUESTION, ["a", "b", "unknown"]))
    assert sorted(copied) == ["a", "b"]


def test_texts_are_part_of_a_value() -> None:
    validity, texts = Validity(b"1" * 40, b"2" * 16), {"carrier": "UA", "origin": "Zürich ✈"}
    moment = MOMENT.astimezone(tz=None)

    value = redis_values.value_of_row("key", validity, moment, vector(1).tobytes(), texts)
    row = redis_values.row_of_value("key", validity, value)

    assert row is not None
    assert (row.moment, row.moment.utcoffset(), row.online.texts) == (MOMENT, timedelta(0), texts)


def test_rows_of_another_question_are_not_those_of_this_one(engine: sa.Engine, server: RedisServer) -> None:
    write(engine, writer_to(server), 1).publish()

    assert reader_of(server, engine).look_up(Question(15, 180), ["a"]) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"of another program",
        lambda value: value[:-1],
        lambda value: value + b"{}",
        lambda value: value[:-1] + bytes([value[-1] ^ 1]),
        lambda value: b"ontime-2" + value[8:],
    ],
    ids=["empty", "foreign", "cut", "longer", "one bit", "another version"],
)
def test_a_value_that_is_not_valid_counts_as_absent(wrong: Any, server: RedisServer, tmp_path: Path) -> None:
    engine = database.connect(f"sqlite:///{tmp_path}/ontime.db")
    write(engine, writer_to(server), 1).publish()
    key = redis_copy.key_of(online_store.feature_set_of(QUESTION), "a")
    client = client_of(server)
    value: Any = client.get(key)
    client.set(key, wrong(value) if callable(wrong) else wrong)

    assert list(reader_of(server, engine).look_up(QUESTION, ["a", "b"])) == ["b"]


def test_neither_a_list_nor_the_value_of_another_entity_is_read(server: RedisServer, tmp_path: Path) -> None:
    engine = database.connect(f"sqlite:///{tmp_path}/ontime.db")
    write(engine, writer_to(server), 1).publish()
    first, second = (redis_copy.key_of(online_store.feature_set_of(QUESTION), each) for each in "ab")
    client = client_of(server)
    client.copy(first, second, replace=True)
    client.delete(first)
    client.lpush(first, "x")

    assert reader_of(server, engine).look_up(QUESTION, ["a", "b"]) == {}


def test_between_commit_and_publishing_a_row_is_absent(engine: sa.Engine, server: RedisServer) -> None:
    """Also for good, if the writer is killed there."""
    writer = writer_to(server)
    write(engine, writer, 1).publish()

    marked = write(engine, writer, 2, ("a",))

    assert list(reader_of(server, engine).look_up(QUESTION, ["a", "b"])) == ["b"]
    marked.publish()
    assert reader_of(server, engine).look_up(QUESTION, ["a"])["a"].online.vector[1] == 2


def test_a_row_that_was_rolled_back_is_not_in_the_copy(engine: sa.Engine, server: RedisServer) -> None:
    writer = writer_to(server)
    write(engine, writer, 1).publish()

    with engine.connect() as connection:
        _write_in(connection, writer, 2, ("a",))
        connection.rollback()

    assert reader_of(server, engine).look_up(QUESTION, ["a"]) == {}


def test_a_writer_that_publishes_late_does_not_replace_a_later_row(engine: sa.Engine, server: RedisServer) -> None:
    early, late = writer_to(server), writer_to(server)
    marked = write(engine, early, 1)
    write(engine, late, 2).publish()

    marked.publish()

    assert reader_of(server, engine).look_up(QUESTION, ["a"])["a"].online.vector[1] == 2


def test_rows_written_while_redis_hangs_are_not_old_afterwards(engine: sa.Engine, server: RedisServer) -> None:
    write(engine, writer_to(server), 1).publish()
    reader = reader_of(server, engine)

    with server.frozen():
        write(engine, writer_to(server), 2, ("a",)).publish()

    reader.read_epochs(engine)
    assert reader.look_up(QUESTION, ["a", "b"]) == {}
    write(engine, writer_to(server), 3, ("b",)).publish()
    assert reader.look_up(QUESTION, ["a", "b"])["b"].online.vector[1] == 3


def test_a_server_that_restarts_with_old_data_has_no_valid_row(engine: sa.Engine, server: RedisServer) -> None:
    write(engine, writer_to(server), 1).publish()
    reader = reader_of(server, engine)
    assert sorted(reader.look_up(QUESTION, ["a", "b"])) == ["a", "b"]
    server.kill()
    write(engine, writer_to(server), 2, ("a",)).publish()
    server.start()

    with pytest.raises(RedisFailed):
        reader.look_up(QUESTION, ["a", "b"])  # the connection is to the server that was killed
    reader.read_epochs(engine)

    assert client_of(server).dbsize() == 2
    assert reader.look_up(QUESTION, ["a", "b"]) == {}
    write(engine, writer_to(server), 3).publish()
    assert reader.look_up(QUESTION, ["a"])["a"].online.vector[1] == 3


def test_a_server_that_restarts_within_an_epoch_has_no_valid_row(engine: sa.Engine, server: RedisServer) -> None:
    write(engine, writer_to(server), 1).publish()
    server.kill()
    server.start()

    assert client_of(server).dbsize() == 2
    assert reader_of(server, engine).look_up(QUESTION, ["a", "b"]) == {}


def test_the_copy_of_another_database_is_not_read(engine: sa.Engine, server: RedisServer, tmp_path: Path) -> None:
    other = database.connect(f"sqlite:///{tmp_path}/other.db")
    write(engine, writer_to(server), 1).publish()
    write(other, writer_to(server), 2, ("a",)).publish()

    assert list(reader_of(server, engine).look_up(QUESTION, ["a", "b"])) == ["b"]
    assert list(reader_of(server, other).look_up(QUESTION, ["a", "b"])) == ["a"]


def test_after_a_restore_no_earlier_row_is_valid(engine: sa.Engine, server: RedisServer) -> None:
    write(engine, writer_to(server), 1).publish()

    redis_copy.begin_epochs(engine)

    assert reader_of(server, engine).look_up(QUESTION, ["a", "b"]) == {}


def test_without_the_epoch_of_the_last_seconds_no_row_is_valid(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = database.connect(f"sqlite:///{tmp_path}/ontime.db")
    write(engine, writer_to(server), 1).publish()
    reader = reader_of(server, engine)
    assert reader.look_up(QUESTION, ["a"])

    monkeypatch.setattr(redis_copy, "LONGEST_EPOCH_AGE_SECONDS", 0.0)

    assert reader.look_up(QUESTION, ["a"]) == {}


def test_marks_and_values_expire(server: RedisServer, tmp_path: Path) -> None:
    engine = database.connect(f"sqlite:///{tmp_path}/ontime.db")
    client, writer = client_of(server), writer_to(server)
    key = redis_copy.key_of(online_store.feature_set_of(QUESTION), "a")

    marked = write(engine, writer, 1)
    first: Any = client.ttl(key)
    marked.publish()
    second: Any = client.ttl(key)

    assert DAY_SECONDS - 60 < first <= DAY_SECONDS
    assert DAY_SECONDS - 60 < second <= DAY_SECONDS


def test_erasing_deletes_every_value_of_the_entity_and_no_other(server: RedisServer, tmp_path: Path) -> None:
    engine = database.connect(f"sqlite:///{tmp_path}/ontime.db")
    client = client_of(server)
    write(engine, writer_to(server), 1, ("a", "aa", *(f"other-{number}" for number in range(3000)))).publish()
    client.set("ontime:another-set:a", "x")
    client.set("of another program:a", "x")

    assert writer_to(server).erase(["a", "unknown"]) == 2
    assert client.dbsize() == 3002


def test_a_wrong_password_is_a_failure_without_the_password(server: RedisServer) -> None:
    url = SecretStr(server.url.replace("redis://", "redis://user:hidden@"))

    with pytest.raises(RedisFailed) as failed:
        RedisConnection(url, timeout_s=1, pause_s=0).run_id()

    assert "hidden" not in str(failed.value)


def test_after_a_failure_redis_is_left_alone_for_a_while(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        connection = RedisConnection(SecretStr(server.url), timeout_s=1, pause_s=600)
        assert connection.command("PING") == b"PONG"
        server.kill()
        with pytest.raises(RedisFailed):
            connection.command("PING")
        server.start()

        with pytest.raises(RedisFailed, match="a moment ago"):
            connection.command("PING")


def value_in(connection: sa.Connection) -> float:
    """The value of the only row."""
    return float(np.frombuffer(connection.execute(sa.text("SELECT vector FROM features")).scalar_one(), "<f4")[1])


def count_up(engine: sa.Engine, server: RedisServer, seed: int, over: Event) -> None:
    """Write the next number into the row, and end half-way in three of ten cases."""
    random, writer = np.random.default_rng(seed), writer_to(server)
    while not over.is_set():
        with exclusive_transaction(engine) as connection:
            marked = _write_in(connection, writer, value_in(connection) + 1, ("a",))
        if random.random() < 0.7:
            time.sleep(random.random() * 0.01)
            marked.publish()


def compare(engine: sa.Engine, server: RedisServer, over: Event, ages: list[float]) -> None:
    """Append how much the row in Redis is behind what the database had before the look-up."""
    reader = reader_of(server, engine)
    while not over.is_set():
        with engine.connect() as connection:
            before = value_in(connection)
        if row := reader.look_up(QUESTION, ["a"]).get("a"):
            ages.append(before - float(row.online.vector[1]))
        reader.read_epochs(engine)


def test_no_row_is_older_than_the_database_while_writers_race_and_fail(engine: sa.Engine, server: RedisServer) -> None:
    over, ages = Event(), list[float]()
    write(engine, writer_to(server), 0, ("a",))
    threads = [Thread(target=count_up, args=(engine, server, seed, over)) for seed in (1, 2)]
    threads += [Thread(target=compare, args=(engine, server, over, ages)) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    over.set()
    for thread in threads:
        thread.join(timeout=30)

    assert len(ages) > 20
    assert max(ages) <= 0
