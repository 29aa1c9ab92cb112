"""Nothing is lost and nothing is predicted twice when processes, the broker or the database die under a stream."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread

import psutil  # type: ignore[import-untyped]  # dvc brings it, and nobody its types
import pytest
import sqlalchemy as sa

from ontime import database
from ontime.database_tables import stream_ranges
from ontime.datasets import Tables
from ontime.params import Params
from ontime.settings import Settings
from pipelines import brokers
from pipelines.brokers import Broker
from pipelines.layout import write_table
from pipelines.operations import stream, stream_store
from pipelines.operations.embedded_broker import embedded_nats
from pipelines.operations.stream import Stream
from pipelines.operations.stream_reader import EVENTS
from tests import ROOT, postgres, streaming
from tests.service import environment, wait_for
from tests.stream_process import STEPS
from tests.streaming import START, days_later

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small_tables(raw: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    for name, rows in streaming.small_of(raw).items():
        write_table(rows, folder / f"{name}.parquet")
    return folder


@contextmanager
def consumer(settings: Settings, address: str, tables: Path, *death: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "tests.stream_process", address, str(tables), START.isoformat(), *death]
    env = environment(settings, ONTIME_QUARANTINE=str(settings.quarantine))
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


def is_scored(engine: sa.Engine, until: datetime) -> bool:
    """Whether everything until a moment is scored and published."""
    status = stream_store.status(engine, EVENTS, timedelta(0))
    table = stream_ranges.c
    unpublished = sa.select(table.start).where(table.is_published.is_(False), table.scored > 0)
    with engine.connect() as connection:
        waiting = connection.execute(unpublished).first()
    scored = status["scored_until"]
    return scored is not None and scored >= until and not status["unscored_ranges"] and waiting is None


def assert_all_is_there(settings: Settings, params: Params, tables: Tables, broker: Broker, until: datetime) -> None:
    engine = database.connect(settings.database_url)
    _, reference = streaming.expected(tables, params, settings, until)
    streaming.assert_once_and_equal(engine, reference)
    assert sorted(streaming.output_ids(broker)) == sorted(streaming.predicted(engine).ids)


@contextmanager
def running(settings: Settings, params: Params, broker: Broker, raw: Tables) -> Iterator[Stream]:
    """A stream in a thread, which ends without an error."""
    opened, stopping, errors = streaming.opened(settings, params, broker, raw), Event(), list[BaseException]()

    def run() -> None:
        try:
            stream.run(opened, stopping)
        except BaseException as error:
            errors.append(error)
            raise

    thread = Thread(target=run)
    thread.start()
    try:
        yield opened
    finally:
        stopping.set()
        thread.join(60)
        opened.close()
    assert errors == []


@pytest.fixture
def at_once(params: Params) -> Params:
    return params.model_copy(update={"stream": params.stream.model_copy(update={"allowed_lateness_seconds": 0})})


def test_a_consumer_killed_at_every_step_loses_and_repeats_nothing(
    on_both: Settings, params: Params, few_raw: Tables, few: Tables, small_tables: Path, tmp_path: Path
) -> None:
    """A dozen times; each time a new process goes on where the last one died."""
    lateness = timedelta(seconds=params.stream.allowed_lateness_seconds)
    deaths = [*STEPS, *list(STEPS)[-3:]]
    assert len(deaths) == 12
    # From the morning until the evening, so that each process has something to predict.
    cuts = [START + timedelta(hours=7 + number) for number in range(13)]
    events = streaming.event_messages(few_raw, params, cuts[-1])
    engine = database.connect(on_both.database_url)
    with embedded_nats(tmp_path / "nats") as address:
        broker = brokers.connect(address)
        streaming.publish(broker, [each for each in events if each.known_at < cuts[0]], cuts[0])
        for step, (since, until) in zip(deaths, pairwise(cuts), strict=True):
            streaming.publish(broker, [each for each in events if since <= each.known_at < until], until)
            with consumer(on_both, address, small_tables, step, "1") as process:
                assert process.wait(60) == -signal.SIGKILL, step
        with consumer(on_both, address, small_tables) as last:
            wait_for(lambda: is_scored(engine, cuts[-1] - lateness), 60)
            last.terminate()
            assert last.wait(30) == 0
        assert_all_is_there(on_both, params, few, broker, cuts[-1] - lateness)
        broker.close()


def test_two_consumers_share_the_work_and_one_goes_on_alone(
    settings: Settings, params: Params, raw: Tables, tables: Tables, small_tables: Path, tmp_path: Path
) -> None:
    end, lateness = days_later(6), timedelta(seconds=params.stream.allowed_lateness_seconds)
    events = streaming.event_messages(raw, params, end)
    engine = database.connect(settings.database_url)
    with embedded_nats(tmp_path / "nats") as address:
        broker = brokers.connect(address)
        with consumer(settings, address, small_tables) as one, consumer(settings, address, small_tables) as other:
            early = [each for each in events if each.known_at < days_later(3)]
            streaming.publish(broker, early)  # at once: while one reads, the other scores
            wait_for(lambda: len(owners(engine)) == 2, 60)
            one.kill()
            streaming.publish(broker, events[len(early) :], end)
            wait_for(lambda: is_scored(engine, end - lateness), 90)
            other.terminate()
            assert other.wait(30) == 0
        assert_all_is_there(settings, params, tables, broker, end - lateness)
        broker.close()


def owners(engine: sa.Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.execute(sa.select(stream_ranges.c.owner).where(stream_ranges.c.scored > 0)).scalars())


def test_a_stream_goes_on_when_its_broker_was_killed_and_has_come_back(
    settings: Settings, at_once: Params, few_raw: Tables, few: Tables, tmp_path: Path
) -> None:
    noon, end = days_later(0.5), days_later(1)
    events = streaming.event_messages(few_raw, at_once, end)
    folder, engine = tmp_path / "nats", database.connect(settings.database_url)
    with ExitStack() as stack:
        with embedded_nats(folder) as address:
            broker = brokers.connect(address)
            streaming.publish(broker, [each for each in events if each.known_at < noon], noon)
            stack.enter_context(running(settings, at_once, brokers.connect(address), few_raw))
            wait_for(lambda: is_scored(engine, noon), 60)
            for process in psutil.Process().children(recursive=True):
                if process.name() == "nats-server":
                    process.kill()
            time.sleep(2)
        with embedded_nats(folder) as again:
            assert again == address
            streaming.publish(broker, [each for each in events if each.known_at >= noon], end)
            wait_for(lambda: is_scored(engine, end), 60)
            assert_all_is_there(settings, at_once, few, broker, end)
            stack.close()
            broker.close()


def test_a_stream_waits_for_a_database_that_is_away_for_ten_seconds(
    settings: Settings, at_once: Params, few_raw: Tables, few: Tables, tmp_path: Path
) -> None:
    noon, end = days_later(0.5), days_later(1)
    events = streaming.event_messages(few_raw, at_once, end)
    with postgres.running() as server, embedded_nats(tmp_path / "nats") as address:
        url = type(settings.database_url)(server.new_database())
        own = settings.model_copy(update={"database_url": url})
        broker = brokers.connect(address)
        streaming.publish(broker, [each for each in events if each.known_at < noon], noon)
        with running(own, at_once, broker, few_raw) as opened:
            wait_for(lambda: is_scored(opened.engine, noon), 60)
            server.kill()
            streaming.publish(broker, [each for each in events if each.known_at >= noon], end)
            time.sleep(10)
            server.start()
            wait_for(lambda: is_scored(database.connect(url), end), 60)
        assert_all_is_there(own, at_once, few, broker, end)
        broker.close()
