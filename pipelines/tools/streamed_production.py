"""A production on a simulated clock that predicts from a stream: the feed's events, a broker, and `ontime stream`."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from subprocess import Popen

import sqlalchemy as sa

from ontime import database, files, sources
from ontime.database_tables import stream_positions
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.problem.data import DATA
from ontime.settings import Settings
from pipelines import brokers
from pipelines.layout import write_table
from pipelines.operations import local_server, processes, stream_store
from pipelines.operations.embedded_broker import embedded_nats
from pipelines.operations.processes import ProcessFailed
from pipelines.operations.stream_feed import FeedPublisher, history_start
from pipelines.operations.stream_reader import EVENTS, OUTCOMES
from pipelines.tools.local_service import environment_of

DAY_SECONDS = 120  # for the messages of a day
POLL_SECONDS = 0.02


class StreamedProduction:
    """As `SimulatedProduction`, but each day's messages are published, and the stream does the rest."""

    def __init__(
        self, settings: Settings, params: Params, start: date, publisher: FeedPublisher, process: "Popen[str]"
    ) -> None:
        self._params, self._publisher, self._process = params, publisher, process
        self._log = settings.releases.parent / "stream.log"
        self._engine = database.connect(settings.database_url)
        self._published_until = history_start(midnight(start), params)
        self._outcomes = 0

    def materialise(self, day: date) -> None:
        """Nothing: the stream stores features together with the predictions."""

    def predict(self, day: date) -> None:
        """Publish what becomes known until the end of the day, and wait until it is read, and the day is scored."""
        end = midnight(day + timedelta(days=1))
        until = end + timedelta(seconds=self._params.stream.allowed_lateness_seconds)
        self._outcomes += self._publisher.publish(self._published_until, until)[OUTCOMES]
        self._published_until = until
        deadline = time.monotonic() + DAY_SECONDS
        while not self._is_scored(end):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ProcessFailed(f"ontime stream has not scored {day}", self._log.read_text())
            time.sleep(POLL_SECONDS)

    def _is_scored(self, end: datetime) -> bool:
        status = stream_store.status(self._engine, EVENTS, timedelta(0))
        if status["scored_until"] is None or status["scored_until"] < end or status["unscored_ranges"]:
            return False
        position = sa.select(stream_positions.c.offset).where(stream_positions.c.topic == OUTCOMES)
        with self._engine.connect() as connection:
            return int(connection.execute(position).scalar() or 0) >= self._outcomes


@contextmanager
def streamed_production(
    settings: Settings, params: Params, tables: Tables, start: date
) -> Iterator[StreamedProduction]:
    """A broker, and `ontime stream` on it, which predicts from `start` on. Raises ProcessFailed."""
    folder = settings.releases.parent
    for table in DATA.tables:
        if table.moment is None:
            files.make_private_folder(folder / "tables")
            write_table(tables[table.name], folder / "tables" / f"{table.name}.parquet")
    command = [sys.executable, "-m", "cli", "stream", "--simulated", "--tables", str(folder / "tables")]
    command += ["--from", f"{midnight(start):%Y-%m-%dT%H:%MZ}"]
    log = folder / "stream.log"
    log.unlink(missing_ok=True)
    log.touch(files.PRIVATE)
    with (
        embedded_nats(folder / "broker") as address,
        log.open("a", encoding="utf-8") as file,
        processes.process_group(
            command, env=environment_of(settings, BROKER=address), stdout=file, stderr=file, umask=files.PRIVATE_UMASK
        ) as process,
    ):
        broker = brokers.connect(address)
        publisher = FeedPublisher(broker, params, lambda since, until: sources.cut(tables, since, until))
        try:
            yield StreamedProduction(settings, params, start, publisher, process)
        finally:
            local_server.stop([process])
            broker.close()
