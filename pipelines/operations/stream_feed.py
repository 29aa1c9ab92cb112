"""Publishes the data feed as events, as if its sources sent them: for a first look, for replays, and for benchmarks.

    ontime feed     what becomes known from now on by the feed's clock, after what features need of the past

With a live source, its own programs publish events instead: docs/streaming.md has the format.
"""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from pydantic_core import to_json

from ontime import partitions, sources
from ontime.availability import Scheduled
from ontime.datasets import KEY
from ontime.params import Params, load_params
from ontime.problem.data import DATA
from ontime.refusal import Refusal
from ontime.settings import Settings, load_settings
from pipelines.brokers import Broker, BrokerUnavailable, Message
from pipelines.operations import arrivals, embedded_broker, feed_clock, materialise, stream_events
from pipelines.operations.stream_events import Event
from pipelines.operations.stream_reader import EVENTS, OUTCOMES

AT_ONCE = 1000
POLL_SECONDS = 5.0
HORIZON = timedelta(days=1)  # whose events are made at once


class FeedPublisher:
    """Publishes the events and outcomes of a feed, in the order in which they become known."""

    def __init__(self, broker: Broker, params: Params, source: arrivals.Feed = arrivals.read_feed) -> None:
        self._broker, self._params, self._source = broker, params, source
        self._events, self._outcomes = list[Event](), list[Mapping[str, Any]]()
        self._made_until: datetime | None = None
        for topic in (EVENTS, OUTCOMES):
            broker.create_topic(topic)

    def publish(self, since: datetime, until: datetime) -> Counter[str]:
        """Publish what becomes known in [since, until), and a clock; returns the number of messages by topic.

        Outcomes come first, so that whoever has read the clock of a time finds all outcomes of before in their topic.
        """
        counts = Counter[str]()
        while since < until:
            end = min(until, since + HORIZON)
            if self._made_until is None or end > self._made_until:
                self._make(since, since + HORIZON)
            outcomes = [
                message(str(each[KEY]), to_json(each)) for each in self._outcomes if since <= each["known_at"] < end
            ]
            events = [
                message(each.entity_id or each.table, stream_events.message_of(each))
                for each in self._events
                if since <= each.known_at < end
            ]
            for topic, messages in ((OUTCOMES, outcomes), (EVENTS, [*events, clock(end)])):
                for start in range(0, len(messages), AT_ONCE):
                    self._broker.publish(topic, messages[start : start + AT_ONCE])
                counts[topic] += len(messages)
            since = end
        return counts

    def _make(self, since: datetime, until: datetime) -> None:
        """The events that become known in a period, also those of rows as long before it as an outcome takes."""
        start, end = since - arrivals.lookback(self._params), until + _longest_plan() + partitions.AHEAD
        tables = sources.cut(self._source(start, end), start, end)
        self._events = [each for each in stream_events.events_of(tables) if since <= each.known_at < until]
        self._made_until = until
        self._outcomes = [
            each
            for each in materialise.outcomes_of(tables[DATA.entities], self._params.label.at_least)
            if since <= each["known_at"] < until  # type: ignore[operator]  # a time
        ]


def history_start(moment: datetime, params: Params) -> datetime:
    """The time from which on events are needed, to predict from `moment` on: the look-back, or how early plans come."""
    return moment - max(arrivals.lookback(params), _longest_plan())


def _longest_plan() -> timedelta:
    """How long before its moment a row may be known."""
    plans = [table.availability.ahead for table in DATA.tables if isinstance(table.availability, Scheduled)]
    return max(plans, default=timedelta(0))


def message(key: str | None, body: bytes) -> Message:
    """A message whose id follows from its content, so that a repetition has the same."""
    return Message(key, blake2b(body, digest_size=16).hexdigest(), body)


def clock(known_until: datetime) -> Message:
    return message(None, stream_events.clock_message(known_until))  # for each partition


def run(settings: Settings, params: Params, broker: Broker) -> None:
    """Publish by the feed's clock, without end; first what features need of the past."""
    now = feed_clock.now(settings, params)
    publisher, since = FeedPublisher(broker, params), history_start(now, params)
    while True:
        counts = publisher.publish(since, now)
        if counts.total() > 1:
            print(f"feed: {counts.total():,} messages until {now:%Y-%m-%d %H:%M:%S} UTC, feed's clock", flush=True)
        since = now
        time.sleep(POLL_SECONDS)
        now = feed_clock.now(settings, params)


def main() -> None:
    settings, params = load_settings(), load_params()
    try:
        with embedded_broker.connected(settings) as broker:
            run(settings, params, broker)
    except (BrokerUnavailable, Refusal) as error:
        sys.exit(f"feed: {error}")
