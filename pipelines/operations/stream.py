"""Scores entities from a stream of events: the same features, releases and log as everywhere else.

    ontime stream                   with the embedded broker, or the one that ONTIME_BROKER names
    ontime stream --from TIME       the first prediction moment, when the database has none yet
    ontime stream --accept-loss     go on although the broker has lost messages
    ontime stream --status          up to when everything is known and scored

Each step reads some messages, commits what they say, and scores the entities whose moment has come by the watermark:
the time until which everything is known, less `stream.allowed_lateness_seconds`. Several processes may run: one reads,
all score. See docs/streaming.md.
"""

import json
import logging
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event as Flag
from typing import Any

import sqlalchemy as sa

from ontime import database, locks, sources
from ontime.datasets import Tables
from ontime.decision_chain import exclusive_transaction
from ontime.live_releases import LiveReleases
from ontime.params import Params, load_params
from ontime.problem.data import DATA
from ontime.refusal import Refusal
from ontime.release import ReleaseRefused
from ontime.settings import Settings, load_settings
from pipelines.brokers import Broker, BrokerUnavailable
from pipelines.layout import INGESTED, read_small
from pipelines.operations import (
    arrivals,
    embedded_broker,
    feed_clock,
    materialise,
    stream_lateness,
    stream_metrics,
    stream_reader,
    stream_scoring,
    stream_store,
)
from pipelines.operations.processes import ProcessFailed
from pipelines.operations.stream_events import EventParser
from pipelines.operations.stream_reader import EVENTS, OUTCOMES, MessageBatch, TopicReader
from pipelines.operations.stream_scoring import ReleaseFollower
from pipelines.operations.stream_state import RecentRows
from pipelines.operations.stream_store import MomentRange, PositionMoved, StoredEvent

logger = logging.getLogger(__name__)

PREDICTIONS = "ontime-predictions"
MOST_MESSAGES = 5000  # in a step: the memory of a step does not grow with what waits
LONGEST_RANGE = timedelta(days=1)
LONGEST_BACKLOG = 2 * LONGEST_RANGE  # of read, but not scored moments, which other processes may score
WAIT_SECONDS = 0.2
RETRY_SECONDS = 1.0
CHECK_EVERY = timedelta(minutes=15)  # of the feed's clock: the contract sees whole days, so not at each step
REPORT_SECONDS = 10.0
NEVER = datetime(2100, 1, 1, tzinfo=UTC)  # later than any time that a message may have
CHECK_SECONDS, CHECK_EVENTS = 10.0, 10_000  # ... and in a hurry not before so much time, or so many events


class Stream:
    """`step` reads, commits and scores; `counts` are those of all steps."""

    def __init__(
        self,
        settings: Settings,
        params: Params,
        broker: Broker,
        small: Tables,
        first: datetime,
        now: Callable[[], datetime],
    ) -> None:
        """`small`: the tables without a moment. `first`: the first prediction moment, if nothing was scored before.

        `now`: the feed's clock.
        """
        self._settings, self._params, self._broker, self._now = settings, params, broker, now
        self._first = first
        self._owner = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns():x}"
        self.engine = database.connect(settings.database_url)
        self._releases = ReleaseFollower(settings, params)
        self._redis = materialise.redis_writer(settings, params)
        self._small = small
        self._parser = EventParser(self._small)
        self._readers = {name: TopicReader(self.engine, broker, name, self._owner) for name in (EVENTS, OUTCOMES)}
        self._published: list[datetime] = []
        self._broken: dict[str, set[date]] = {}
        self._check_from: datetime | None = None
        self._check_after, self._unchecked = 0.0, 0
        self._late_events, self._late_since = 0, datetime.max.replace(tzinfo=UTC)
        self.counts: Counter[str] = Counter()
        self.watermark: datetime | None = None
        for topic in (EVENTS, OUTCOMES, PREDICTIONS):
            broker.create_topic(topic)
        self.rows = self._recent_rows(self.scored_until())

    def step(self, seconds: float = WAIT_SECONDS) -> bool:
        """Read, commit and score once; False if there was nothing to do for so many seconds."""
        began = time.perf_counter()
        batches = [batch for batch in self._fetch(seconds) if batch.positions]
        if not batches and not self._is_due():
            self._note_published()
            return False
        try:
            part = self._commit(batches)
        except PositionMoved as moved:
            logger.warning("another process has read %s", moved)
            self.begin_again()
            return True
        for batch in batches:
            self._readers[batch.topic].acknowledge(batch)
            self.counts += batch.counts
        if part is not None:
            self._score(part, began if batches else time.perf_counter())
        return bool(batches) or part is not None

    def _fetch(self, seconds: float) -> list[MessageBatch]:
        events = self._readers[EVENTS].fetch(MOST_MESSAGES, seconds)
        outcomes = self._readers[OUTCOMES].fetch(MOST_MESSAGES, 0)
        if events:
            self._catch_up(self._last_event())  # repeated events are recognised by those before them
        elif not self._readers[EVENTS].is_reading:
            time.sleep(seconds)
        return [
            stream_reader.sort_events(events, self._parser, self.rows, self._now),
            stream_reader.sort_outcomes(outcomes, self._params.question),
        ]

    def _commit(self, batches: list[MessageBatch]) -> MomentRange | None:
        """Store what the batches say, and claim a range, in one transaction."""
        published, late, own = [*self._published], list[datetime](), list[StoredEvent]()
        with exclusive_transaction(self.engine) as connection:
            for batch in batches:
                self._readers[batch.topic].move(connection, batch)
                inserted = stream_reader.insert_events(connection, batch)
                late += inserted.late
                own += inserted.events
                stream_reader.insert_outcomes(connection, batch)
                stream_store.store_dead_letters(connection, batch.dead)
            stream_store.mark_published(connection, published)
            self.watermark = self._watermark(connection)
            part = self._claim(connection, batches)
        self._published.clear()
        if own and own[0].number == self.rows.last_event + 1:  # otherwise another process has added some before
            self.rows.add(own)
            self._unchecked += len(own)
        self.counts["late"] += len(late)
        self._late_events += len(late)
        self._late_since = min(late, default=self._late_since)
        return part

    def _claim(self, connection: sa.Connection, batches: list[MessageBatch]) -> MomentRange | None:
        """While many messages wait, leave the scoring to other processes, unless they cannot keep up."""
        if sum(batch.counts.total() for batch in batches) >= MOST_MESSAGES and self.watermark is not None:
            scored = stream_store.scored_until(connection) or self._first
            if self.watermark - scored < LONGEST_BACKLOG:
                return None
        return stream_store.claim(connection, self._owner, self._first, self.watermark, LONGEST_RANGE)

    def _score(self, part: MomentRange, began: float) -> None:
        needed = part.start - arrivals.lookback(self._params)
        if needed < self.rows.since:
            self.rows = self._recent_rows(part.start)  # it was left behind by a process that died long ago
        self._catch_up(part.last_event)
        live = self._releases.current()
        if self._is_check_due(part):
            self._check(part, live)
        logged = stream_scoring.score(
            self.engine, self.rows, self._broken, part, live, self._params, self._owner, began, self._redis
        )
        self.rows.forget_before(needed)
        if logged is None:
            logger.warning("another process has scored the moments from %s", part.start)
            return
        self.counts["predictions"] += len(logged)
        self.publish(logged, part.start)

    def publish(self, logged: Sequence[Mapping[str, Any]], start: datetime) -> None:
        """Publish the predictions of the range that begins at `start`; a later commit notes that."""
        self._broker.publish(PREDICTIONS, stream_scoring.messages_of(logged))
        self._published.append(start)

    def publish_rest(self) -> int:
        """Publish the predictions of ranges that a process scored, but perhaps did not publish before it ended."""
        self._note_published()
        with self.engine.connect() as connection:
            ranges = stream_store.unpublished(connection, self._owner)
        for each in ranges:
            self.publish(stream_scoring.predictions_in(self.engine, each.id_prefix), each.start)
        self._note_published()
        return len(ranges)

    def _note_published(self) -> None:
        if self._published:
            with self.engine.begin() as connection:
                stream_store.mark_published(connection, self._published)
            self._published.clear()

    def _watermark(self, connection: sa.Connection) -> datetime | None:
        clock = stream_store.clock_of(connection, EVENTS)
        lateness = timedelta(seconds=self._params.stream.allowed_lateness_seconds)
        return clock - lateness if clock is not None else None

    def _is_due(self) -> bool:
        """Whether there is something to claim, without a transaction that others would wait for."""
        with self.engine.connect() as connection:
            until = self._watermark(connection)
            return until is not None and (
                until > (stream_store.scored_until(connection) or self._first) or stream_store.is_left(connection)
            )

    @property
    def is_reading(self) -> bool:
        """Whether this process, and no other one, reads the events."""
        return self._readers[EVENTS].is_reading

    def waiting(self) -> int:
        """How many messages wait for this process; 0 if another one reads. Raises BrokerUnavailable."""
        return sum(reader.waiting() for reader in self._readers.values())

    def report(self) -> str:
        """The counts so far, in words."""
        counts = ", ".join(f"{count:,} {name}" for name, count in sorted(self.counts.items()))
        return f"watermark {self.watermark}: {counts or 'nothing yet'}"

    def scored_until(self) -> datetime:
        with self.engine.connect() as connection:
            return stream_store.scored_until(connection) or self._first

    def _last_event(self) -> int:
        with self.engine.connect() as connection:
            return stream_store.last_event_number(connection)

    def _recent_rows(self, moment: datetime) -> RecentRows:
        """The rows that predictions from `moment` on need, from the database."""
        rows = RecentRows(self._small, self._parser, moment - arrivals.lookback(self._params))
        self._read_events(rows, self._last_event())
        return rows

    def _catch_up(self, until: int) -> None:
        self._unchecked += self._read_events(self.rows, until)

    def _read_events(self, rows: RecentRows, until: int) -> int:
        count = 0
        while rows.last_event < until:
            events = stream_store.events_after(self.engine, rows.last_event, until, rows.since, MOST_MESSAGES)
            rows.add(events)
            count += len(events)
            if len(events) < MOST_MESSAGES:
                rows.last_event = until
        return count

    def _is_check_due(self, part: MomentRange) -> bool:
        in_hurry = time.monotonic() < self._check_after and self._unchecked < CHECK_EVENTS
        return not in_hurry and (self._check_from is None or part.end >= self._check_from)

    def _check(self, part: MomentRange, live: LiveReleases) -> None:
        """Validate the recent days, of which broken ones are not used until they are mended, and measure late events.

        Raises ContractBroken if the tables without a moment are broken.
        """
        tables = sources.as_of(self.rows.tables, part.end)
        if any(tables[table.name].empty for table in DATA.long):
            return  # nothing has arrived of a table yet
        batches = arrivals.clean_by_day(tables).broken
        materialise.quarantine(self._settings, self.engine, batches, part.end)
        self._broken = {name: {each.day for each in batches if each.table == name} for name in tables}
        if self._late_events:
            since = max(self._late_since, part.start - timedelta(hours=self._params.features.lookback_hours))
            used = stream_scoring.usable(self.rows, self._broken)
            stream_lateness.record(self.engine, used, self._late_events, since, part.start, live.champion, self._params)
            self._late_events, self._late_since = 0, datetime.max.replace(tzinfo=UTC)
        self._check_from, self._unchecked = part.end + CHECK_EVERY, 0
        self._check_after = time.monotonic() + CHECK_SECONDS

    def begin_again(self) -> None:
        """After an error: read from the stored position, with the rows of the database."""
        for reader in self._readers.values():
            reader.leave()

    def close(self) -> None:
        """Let another process read at once, and publish what is not published yet."""
        try:
            self.publish_rest()
            stream_store.release_reader_lease(self.engine, self._owner)
        except (sa.exc.SQLAlchemyError, BrokerUnavailable) as error:
            logger.warning("not left in order: %s", str(error).partition("\n")[0])
        self.begin_again()
        self.engine.dispose()


def run(stream: Stream, stopping: Flag, step: Callable[[], bool] | None = None) -> None:
    """Step until `stopping` is set; while broker or database are away, wait for them. Raises MessagesLost.

    `step`: by default `stream.step`.
    """
    publish_at, report_at = 0.0, time.monotonic() + REPORT_SECONDS
    while not stopping.is_set():
        try:
            if time.monotonic() >= publish_at:
                stream.publish_rest()
                publish_at = time.monotonic() + stream_store.LEASE.total_seconds()
            (step or stream.step)()
            if time.monotonic() >= report_at:
                logger.info("%s", stream.report())
                report_at = time.monotonic() + REPORT_SECONDS
        except (BrokerUnavailable, sa.exc.SQLAlchemyError) as error:
            logger.error("waiting: %s", str(error).partition("\n")[0])
            stream.begin_again()
            publish_at = 0.0
            stopping.wait(RETRY_SECONDS)


def main(
    first: datetime | None = None, tables: Path | None = None, *, simulated: bool = False, accept_loss: bool = False
) -> None:
    """`first`: the first prediction moment, if nothing was scored before; by default now, by the feed's clock.

    `tables`: the folder of the tables without a moment. `simulated`: time is what the messages say, so that none is too
    early. `accept_loss`: go on although the broker has lost messages that were not read.
    """
    logging.basicConfig(level=logging.INFO, format="stream: %(message)s", stream=sys.stderr)
    settings, params = load_settings(), load_params()

    def now() -> datetime:
        return NEVER if simulated else feed_clock.now(settings, params)

    stopping = Flag()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    first = first or feed_clock.now(settings, params).replace(second=0, microsecond=0)
    try:
        if accept_loss:
            stream_store.forget_positions(database.connect(settings.database_url))
        with embedded_broker.connected(settings) as broker:
            stream = Stream(settings, params, broker, read_small(tables or INGESTED), first, now)
            logger.info("predicts from %s UTC on", f"{stream.scored_until():%Y-%m-%d %H:%M}")
            lateness, clock = timedelta(seconds=params.stream.allowed_lateness_seconds), None if simulated else now
            try:
                with stream_metrics.measured(stream, settings, lateness, clock) as step:
                    run(stream, stopping, step)
            finally:
                stream.close()
            logger.info("stopped: %s", stream.report())
    except (BrokerUnavailable, ProcessFailed, Refusal, ReleaseRefused, materialise.QuestionDiffers,
            database.DatabaseRefused, locks.Busy) as refused:  # fmt: skip
        sys.exit(f"stream: {refused}")


def show_status(*, as_json: bool = False) -> None:
    """Print up to when everything is known and scored, and what waits or could not be used."""
    settings, params = load_settings(), load_params()
    lateness = timedelta(seconds=params.stream.allowed_lateness_seconds)
    status = stream_store.status(database.connect(settings.database_url), EVENTS, lateness)
    if as_json:
        print(json.dumps(status, default=str))
        return
    for name, value in status.items():
        print(f"{name.replace('_', ' '):16} {'-' if value is None else value}")
