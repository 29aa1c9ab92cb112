"""The Prometheus metrics of `ontime stream`, on a port of their own: /metrics at ONTIME_STREAM_HOST:ONTIME_STREAM_PORT.

Each process counts what it did itself, so sum over processes; `dead_letters` and `unscored_ranges` are those of the
database, which every process reports alike. Before the first event the watermark is NaN.
"""

import math
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Protocol

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from ontime.settings import BadSettings, Settings
from pipelines.operations import stream_store
from pipelines.operations.stream_reader import EVENTS

REFRESH_SECONDS = 5.0  # what costs a question to the broker or the database
MESSAGE_KINDS = ("events", "outcomes", "repeated", "late", "early", "out of order", "dead letters")
# A step reads at most some thousand messages and scores at most a day of entities.
STEP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class MeasuredStream(Protocol):
    """What the metrics need of a `Stream`."""

    engine: sa.Engine
    counts: Counts[str]

    @property
    def is_reading(self) -> bool: ...
    def step(self) -> bool: ...
    def waiting(self) -> int: ...


class StreamMetrics:
    """Call `step` instead of `stream.step`."""

    def __init__(self, stream: MeasuredStream, lateness: timedelta, now: Callable[[], datetime] | None) -> None:
        """`lateness`: by which the watermark follows the events. `now`: the feed's clock; None: there is none."""
        self._stream, self._lateness, self._now = stream, lateness, now
        self._reported, self._refresh_at = Counts[str](), 0.0
        self._watermark: datetime | None = None
        self._did_answer = False
        self.registry = CollectorRegistry()
        messages = Counter("ontime_stream_messages", "Messages that were read", ["kind"], registry=self.registry)
        # Each exists from 0, so that rate() does not miss the first one.
        self._counters = {kind: messages.labels(kind.replace(" ", "_")) for kind in MESSAGE_KINDS}
        self._counters["predictions"] = Counter(
            "ontime_stream_predictions", "Predictions that were stored", registry=self.registry
        )
        self._seconds = Histogram(
            "ontime_stream_step_seconds",
            "Time of a step that read or scored something",
            buckets=STEP_SECONDS,
            registry=self.registry,
        )
        self._waiting = self._gauge("waiting_messages", "Messages to read; 0 if another process reads")
        self._dead_letters = self._gauge("dead_letters", "Messages that could not be used, and were not sent again")
        self._unscored = self._gauge("unscored_ranges", "Ranges of prediction moments that are claimed, not scored")
        # These are asked at each scrape, so that they also change while a step hangs.
        reading = self._gauge("reading", "1 if this process reads the events")
        reading.set_function(lambda: self._did_answer and stream.is_reading)
        watermark = self._gauge("watermark_seconds", "Time until which everything is known, Unix time, feed's clock")
        watermark.set_function(lambda: self._watermark.timestamp() if self._watermark else math.nan)
        if now is not None:
            self._gauge("behind_seconds", "The feed's clock minus the watermark").set_function(self._behind)
        self._refresh()  # a first scrape must not see 0 dead letters

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(f"ontime_stream_{name}", help_text, registry=self.registry)

    def _behind(self) -> float:
        if self._watermark is None or self._now is None:
            return math.nan
        return (self._now() - self._watermark).total_seconds()

    def step(self) -> bool:
        """As `Stream.step`, and measure it."""
        began, did_answer = time.perf_counter(), False
        try:
            is_busy = self._stream.step()
            if is_busy:
                self._seconds.observe(time.perf_counter() - began)
            if time.monotonic() >= self._refresh_at:
                self._refresh()
                self._refresh_at = time.monotonic() + REFRESH_SECONDS
            did_answer = True
        finally:
            self._did_answer = did_answer
            self._count()
        return is_busy

    def _count(self) -> None:
        counts = self._stream.counts.copy()
        for kind, counter in self._counters.items():
            counter.inc(counts[kind] - self._reported[kind])
        self._reported = counts

    def _refresh(self) -> None:
        self._waiting.set(self._stream.waiting())
        with self._stream.engine.connect() as connection:
            clock = stream_store.clock_of(connection, EVENTS)
            unscored, unsent = stream_store.backlog(connection)
        self._watermark = None if clock is None else clock - self._lateness
        self._unscored.set(unscored)
        self._dead_letters.set(unsent)


@contextmanager
def measured(
    stream: MeasuredStream, settings: Settings, lateness: timedelta, now: Callable[[], datetime] | None
) -> Iterator[Callable[[], bool]]:
    """Yield the step to call; during the block serve its metrics, if ONTIME_STREAM_PORT is set. Raises BadSettings."""
    if settings.stream_port is None:
        yield stream.step
        return
    metrics = StreamMetrics(stream, lateness, now)
    try:
        server, _ = start_http_server(settings.stream_port, settings.stream_host, metrics.registry)
    except OSError as error:
        address = f"ONTIME_STREAM_HOST={settings.stream_host} and ONTIME_STREAM_PORT={settings.stream_port}"
        raise BadSettings(f"{address}: {error.strerror}; choose another address for /metrics") from None
    try:
        yield metrics.step
    finally:
        server.shutdown()
        server.server_close()
