"""Publishes the data feed as events, as if its sources sent them: for a first look, for replays, and for benchmarks.

    ontime feed     what becomes known from now on by the feed's clock, after what features need of the past

With a live source, its own programs publish events instead: docs/streaming.md has the format.
"""

import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import blake2b

from pydantic_core import to_json

from ontime import sources
from ontime.datasets import KEY, Tables
from ontime.params import Params, load_params
from ontime.problem.data import DATA
from ontime.refusal import Refusal
from ontime.settings import Settings, load_settings
from pipelines.brokers.interface import Broker, BrokerUnavailable, Message
from pipelines.operations import arrivals, embedded_broker, feed_clock, materialise, stream_events
from pipelines.operations.stream_reader import EVENTS, OUTCOMES

AT_ONCE = 1000
POLL_SECONDS = 5.0
SPAN = timedelta(days=7)  # of moments that are read around a period: events of a row come days before and after it


class Feed:
    """The events and outcomes of the tables, by the time at which they become known."""

    def __init__(self, tables: Tables, params: Params) -> None:
        self._events = stream_events.events_of(tables)
        entities = tables[DATA.entities]
        outcomes = materialise.outcomes_of(entities, params.label.at_least)
        self._outcomes = sorted(outcomes, key=lambda outcome: outcome["known_at"])  # type: ignore[arg-type,return-value]  # a time

    def events(self, since: datetime, until: datetime) -> Iterator[Message]:
        """The messages of the events that become known in [since, until), and a clock at the end."""
        for event in self._events:
            if since <= event.known_at < until:
                yield message(event.entity_id or event.table, stream_events.message_of(event))
        yield message("clock", stream_events.clock_message(until))

    def outcomes(self, since: datetime, until: datetime) -> Iterator[Message]:
        for outcome in self._outcomes:
            if since <= outcome["known_at"] < until:  # type: ignore[operator]  # a time
                yield message(str(outcome[KEY]), to_json(outcome))


def message(key: str, body: bytes) -> Message:
    """A message whose id follows from its content, so that a repetition has the same."""
    return Message(key, blake2b(body, digest_size=16).hexdigest(), body)


def publish(broker: Broker, feed: Feed, since: datetime, until: datetime) -> int:
    """Publish outcomes and events that become known in [since, until); returns the number of messages."""
    count = 0
    for topic, messages in ((OUTCOMES, [*feed.outcomes(since, until)]), (EVENTS, [*feed.events(since, until)])):
        for start in range(0, len(messages), AT_ONCE):
            broker.publish(topic, messages[start : start + AT_ONCE])
        count += len(messages)
    return count


def read(settings: Settings, params: Params, since: datetime, until: datetime) -> Feed:  # noqa: ARG001
    tables = arrivals.read_feed(since - SPAN, until + SPAN)
    return Feed(sources.cut(tables, since - SPAN, until + SPAN), params)


def run(settings: Settings, params: Params, broker: Broker, until: datetime | None = None) -> None:
    """Publish by the feed's clock, without end or until a time of that clock."""
    for topic in (EVENTS, OUTCOMES):
        broker.create_topic(topic)
    now = feed_clock.now(settings, params)
    since = now - arrivals.lookback(params)
    feed, read_until = read(settings, params, since, now + SPAN), now + SPAN
    while until is None or since < until:
        if now >= read_until:
            feed, read_until = read(settings, params, now, now + SPAN), now + SPAN
        count = publish(broker, feed, since, now)
        if count > 1:
            print(f"feed: {count:,} messages until {now:%Y-%m-%d %H:%M:%S} UTC on the feed's clock", flush=True)
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
