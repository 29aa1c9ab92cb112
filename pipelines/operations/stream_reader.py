"""Reads topics: sorts messages into events, outcomes and dead letters, and commits them with their position.

One process reads at a time, which the lease in `stream_readers` decides; others take over when it ends or falls silent.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from ontime import database, erasure
from ontime.datasets import KEY
from ontime.declaration import Question
from ontime.schema import WORDS, Outcome
from pipelines.brokers import Broker, Reader, Received
from pipelines.operations import stream_store
from pipelines.operations.stream_events import MAX_BODY_BYTES, Event, EventParser, EventRejected
from pipelines.operations.stream_state import RecentRows
from pipelines.operations.stream_store import StoredEvent

EVENTS, OUTCOMES = "ontime-events", "ontime-outcomes"
EARLY_TOLERANCE = timedelta(minutes=5)  # by which the clocks of senders may be ahead of ours
RENEWAL_SECONDS = stream_store.LEASE.total_seconds() / 3

_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)


class MessageBatch(NamedTuple):
    """What a fetch of messages contains, as rows of the database."""

    topic: str
    events: Sequence[tuple[Received, Event]]
    outcomes: Sequence[Mapping[str, Any]]
    dead: Sequence[Mapping[str, Any]]
    positions: Mapping[int, int]
    clocks: Mapping[int, datetime]
    counts: Counter[str]


class TopicReader:
    """`fetch` and `store` what one topic has, if this process holds its lease."""

    def __init__(self, engine: sa.Engine, broker: Broker, topic: str, owner: str) -> None:
        self._engine, self._broker, self._topic, self._owner = engine, broker, topic, owner
        self._reader: Reader | None = None
        self._positions: dict[int, int] = {}
        self._renew_at = 0.0

    @property
    def is_reading(self) -> bool:
        return self._reader is not None

    def fetch(self, most: int, seconds: float) -> list[Received]:
        """The next messages; none if another process reads. Raises BrokerUnavailable and MessagesLost."""
        if time.monotonic() >= self._renew_at:
            if not stream_store.take_reader_lease(self._engine, self._topic, self._owner):
                self.leave()
                return []
            self._renew_at = time.monotonic() + RENEWAL_SECONDS
        if self._reader is None:
            self._positions = stream_store.read_positions(self._engine, self._topic)
            self._reader = self._broker.reader(self._topic, self._positions)
        return self._reader.fetch(most, seconds)

    def move(self, connection: sa.Connection, batch: MessageBatch) -> None:
        """Store the position of a batch in a transaction. Raises PositionMoved: another process has read it."""
        stream_store.move_positions(connection, self._topic, self._positions, batch.positions, batch.clocks)

    def acknowledge(self, batch: MessageBatch) -> None:
        """After the commit of `move`."""
        self._positions |= batch.positions
        if self._reader is not None:
            self._reader.acknowledge()

    def waiting(self) -> int:
        return self._reader.waiting() if self._reader is not None else 0

    def leave(self) -> None:
        """Begin again at the stored position with the next `fetch`."""
        self._renew_at = 0.0
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def sort_events(
    received: Sequence[Received],
    parser: EventParser,
    rows: RecentRows,
    now: Callable[[], datetime],
) -> MessageBatch:
    """Sort the messages of the topic of events. `now` is the feed's clock, which no event may be ahead of."""
    events, dead, counts = list[tuple[Received, Event]](), list[Mapping[str, Any]](), Counter[str]()
    clocks: dict[int, datetime] = {}
    seen = set[bytes]()
    latest = now() + EARLY_TOLERANCE
    for message in received:
        try:
            parsed = parser.parse(message.body)
            known_at = parsed if isinstance(parsed, datetime) else parsed.known_at
            if known_at > latest:
                entity_id = None if isinstance(parsed, datetime) else parsed.entity_id
                counts["early"] += 1
                raise EventRejected("known_at", f"is {known_at.isoformat()}, and it is {now().isoformat()}", entity_id)
        except EventRejected as rejected:
            counts["dead letters"] += 1
            dead.append(_dead_letter(EVENTS, message, rejected))
            continue
        clock = clocks.get(message.partition)
        clocks[message.partition] = max(clock, known_at) if clock else known_at
        if isinstance(parsed, datetime):
            continue
        if message.body in seen or rows.has(parsed):
            counts["repeated"] += 1
            continue
        seen.add(message.body)
        counts["events"] += 1
        counts["out of order"] += clock is not None and known_at < clock
        events.append((message, parsed))
    return MessageBatch(EVENTS, events, (), dead, _last_offsets(received), clocks, counts)


def sort_outcomes(received: Sequence[Received], question: Question) -> MessageBatch:
    """Sort the messages of the topic of outcomes: each has the body of POST /v1/outcomes for one entity."""
    outcomes, dead, counts = list[Mapping[str, Any]](), list[Mapping[str, Any]](), Counter[str]()
    for message in received:
        try:
            outcomes.append(_outcome(message.body, question))
            counts["outcomes"] += 1
        except EventRejected as rejected:
            counts["dead letters"] += 1
            dead.append(_dead_letter(OUTCOMES, message, rejected))
    return MessageBatch(OUTCOMES, (), outcomes, dead, _last_offsets(received), {}, counts)


def _outcome(body: bytes, question: Question) -> Mapping[str, Any]:
    if len(body) > MAX_BODY_BYTES:
        raise EventRejected("", f"{len(body):,} bytes are more than {MAX_BODY_BYTES:,}")
    try:
        outcome = _OUTCOME.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise EventRejected(".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")) from None
    if outcome.value is not None and question.is_positive(outcome.value) != outcome.label:
        reason = f"contradicts value {outcome.value:g}: {WORDS.definition.format(**question.terms)}"
        raise EventRejected("label", reason, outcome.entity_id)
    return outcome.model_dump()


class Inserted(NamedTuple):
    """The events of a batch as they are stored, and when the late ones were known."""

    events: Sequence[StoredEvent]
    late: Sequence[datetime]


def insert_events(connection: sa.Connection, batch: MessageBatch) -> Inserted:
    """Insert the events of a batch, except those of erased entities.

    An event is late if predictions that would have known it are made. Only inside `exclusive_transaction`, in which the
    numbers of the events follow each other.
    """
    scored_until = stream_store.scored_until(connection)
    erased = erasure.erased_at(connection, filter(None, (event.entity_id for _, event in batch.events)))
    rows: list[dict[str, Any]] = [
        {
            "topic": batch.topic,
            "partition": message.partition,
            "offset": message.offset,
            "table_name": event.table,
            "entity_id": event.entity_id,
            "moment": event.moment,
            "known_at": event.known_at,
            "content": to_json(event.values).decode(),
            "late": scored_until is not None and event.known_at < scored_until,
        }
        for message, event in batch.events
        if event.entity_id not in erased
    ]
    stream_store.append_events(connection, rows)
    first = stream_store.last_event_number(connection) - len(rows) + 1
    kept = ((message, event) for message, event in batch.events if event.entity_id not in erased)
    events = [
        StoredEvent(number, batch.topic, message.partition, message.offset, event.table, event.known_at, event.values)
        for number, (message, event) in enumerate(kept, first)
    ]
    return Inserted(events, [row["known_at"] for row in rows if row["late"]])


def insert_outcomes(connection: sa.Connection, batch: MessageBatch) -> None:
    """Insert the outcomes of a batch, except those of erased entities."""
    erased = erasure.erased_at(connection, (outcome[KEY] for outcome in batch.outcomes))
    database.store_outcomes(connection, [outcome for outcome in batch.outcomes if outcome[KEY] not in erased])


def _last_offsets(received: Sequence[Received]) -> dict[int, int]:
    return {message.partition: message.offset for message in received}


def _dead_letter(topic: str, message: Received, rejected: EventRejected) -> dict[str, Any]:
    return {
        "topic": topic,
        "partition": message.partition,
        "offset": message.offset,
        "place": rejected.place,
        "reason": rejected.reason,
        "body": message.body,
        "entity_id": rejected.entity_id,
        "kept_at": datetime.now(UTC),
        "resent_at": None,
    }
