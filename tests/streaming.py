"""A week of February as a stream: its messages, its broker, and what a batch makes of the same tables."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import pandas as pd
import sqlalchemy as sa
from pydantic_core import from_json

from ontime import database_tables, features, model, online_store, release, sources
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.problem.data import DATA
from ontime.settings import Settings
from pipelines.brokers import Broker, Message
from pipelines.operations import arrivals, stream_events, stream_feed
from pipelines.operations.stream import PREDICTIONS, Stream
from pipelines.operations.stream_events import Event
from pipelines.operations.stream_reader import EVENTS

FIRST_DAY = date(2013, 2, 18)
START = midnight(FIRST_DAY)
NEVER = datetime(2100, 1, 1, tzinfo=UTC)


def small_of(tables: Tables) -> Tables:
    return {table.name: tables[table.name] for table in DATA.tables if table.moment is None}


def days_later(count: float) -> datetime:
    return START + timedelta(days=count)


def event_messages(raw: Tables, params: Params, until: datetime) -> list[Event]:
    """What becomes known until a time, beginning with what the features of the first day need."""
    since = START - arrivals.lookback(params)
    tables = sources.cut(raw, since, until + timedelta(days=2))
    return [event for event in stream_events.events_of(tables) if since <= event.known_at < until]


def publish(broker: Broker, events: Sequence[Event], clock: datetime | None = None) -> None:
    messages = [stream_feed.message(each.entity_id or each.table, stream_events.message_of(each)) for each in events]
    messages += [stream_feed.clock(clock)] if clock else []
    broker.create_topic(EVENTS)
    broker.publish(EVENTS, messages)


def publish_raw(broker: Broker, topic: str, *bodies: bytes) -> None:
    broker.create_topic(topic)
    broker.publish(topic, [Message("", f"raw-{body!r}", body) for body in bodies])


def opened(
    settings: Settings, params: Params, broker: Broker, raw: Tables, now: Callable[[], datetime] = lambda: NEVER
) -> Stream:
    return Stream(settings, params, broker, small_of(raw), START, now)


def run_to_end(stream: Stream) -> Stream:
    """Step until nothing is left to do."""
    while stream.step(0.1):
        pass
    return stream


class Predicted(NamedTuple):
    ids: list[str]
    entities: list[str]
    vectors: dict[str, bytes]
    probabilities: dict[str, float]


def predicted(engine: sa.Engine) -> Predicted:
    with engine.connect() as connection:
        rows = connection.execute(sa.select(database_tables.predictions)).all()
    return Predicted(
        [row.prediction_id for row in rows],
        [row.entity_id for row in rows],
        {row.entity_id: row.vector for row in rows},
        {row.entity_id: row.probability for row in rows},
    )


def expected(tables: Tables, params: Params, settings: Settings, until: datetime) -> tuple[pd.DataFrame, Predicted]:
    """The features of the same moments from the whole tables, and the predictions of the live release from them."""
    lead = timedelta(minutes=params.features.lead_minutes)
    built = features.build(tables, START + lead, until + lead, params.features, params.question)
    live = release.load(settings.releases, "1")
    matrix = model.matrix_of(built, live.manifest.categories).astype("<f4")
    ids = built["entity_id"].tolist()
    return built, Predicted(
        [],
        ids,
        {each: row.tobytes() for each, row in zip(ids, matrix, strict=True)},
        dict(zip(ids, live.model.predict(matrix).astype(float).tolist(), strict=True)),
    )


def assert_once_and_equal(stream_engine: sa.Engine, reference: Predicted) -> None:
    """Nobody was lost, nobody predicted twice, and every bit of the model's input is that of the batch."""
    made = predicted(stream_engine)
    assert sorted(made.entities) == sorted(reference.entities)
    assert len(set(made.ids)) == len(made.ids)
    assert made.vectors == reference.vectors
    assert made.probabilities == reference.probabilities


def stored_vectors(engine: sa.Engine, params: Params, built: pd.DataFrame) -> list[str]:
    """The entities whose row in the online store differs from the batch's."""
    vectors, texts = features.online_of(built)
    rows = online_store.look_up_features(engine, params.question, built["entity_id"])
    return [
        each
        for each, vector, text in zip(built["entity_id"], vectors, texts, strict=True)
        if (rows[each].online.vector.tobytes(), dict(rows[each].online.texts)) != (vector.tobytes(), text)
    ]


def output_ids(broker: Broker) -> list[str]:
    """The ids of the predictions in the output topic, in their order."""
    reader = broker.reader(PREDICTIONS, {})
    ids: list[str] = []
    while messages := reader.fetch(5000, 0.2):
        ids += [from_json(message.body)["prediction_id"] for message in messages]
    reader.close()
    return ids
