"""The online store: the queries on entities, and on the features that are looked up for a request."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from ontime import database, schema
from ontime.database_tables import entities, features
from ontime.declaration import Question
from ontime.driver_connection import DriverConnection
from ontime.online import OnlineRow

# Identifies the features, and their order, in a stored vector.
FEATURE_SET = sha256("\n".join(schema.ONLINE).encode()).hexdigest()[:12]


class Stored(NamedTuple):
    """A row of the online store, and its prediction moment: nothing known later is in it."""

    moment: datetime
    online: OnlineRow


def feature_set_of(question: Question) -> str:
    """The key of the features of a question. Vectors under different keys are never mixed.

    The question is part of it because features may count labels, which depend on `label_at_least`.
    """
    return f"{FEATURE_SET}-{question.label_at_least:g}-{question.lead_minutes}"


def store_features(
    target: database.Target,
    question: Question,
    entity_ids: Sequence[str],
    moments: Sequence[datetime],
    vectors: NDArray[np.float32],
    texts: Sequence[Mapping[str, str]] | None = None,
) -> None:
    """Insert or replace one row for each entity."""
    rows = [
        {
            "entity_id": entity_id,
            "feature_set": feature_set_of(question),
            "moment": moment,
            "vector": vector.astype("<f4").tobytes(),
            "texts": None if text is None else dict(text),
        }
        for entity_id, moment, vector, text in zip(
            entity_ids, moments, vectors, texts or repeat(None, len(entity_ids)), strict=True
        )
    ]
    database.insert_rows(target, features, rows, replace=True)


def store_entities(target: database.Target, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert or replace rows with the columns of `entities`, in which the page searches."""
    database.insert_rows(target, entities, rows, replace=True)


def look_up_features(
    target: database.Target | DriverConnection, question: Question, entity_ids: Iterable[str]
) -> dict[str, Stored]:
    """The stored rows of these entities for that question; an entity without a row is left out."""
    ids = tuple(entity_ids)
    if not ids:
        return {}
    rows = database.run_on_driver(
        target, _look_up_statement(target.dialect, len(ids)), (feature_set_of(question), *ids)
    )
    moment_of, texts_of = _result_processors(target.dialect)
    vectors = np.frombuffer(b"".join([row[2] for row in rows]), "<f4").reshape(len(rows), len(schema.ONLINE))
    return {
        entity_id: Stored(moment_of(moment), OnlineRow(vector, (texts and texts_of(texts)) or {}))
        for (entity_id, moment, _, texts), vector in zip(rows, vectors, strict=True)
    }


@lru_cache(maxsize=256)
def _look_up_statement(dialect: sa.Dialect, count: int) -> str:
    """In the driver's own words, because every request needs it."""
    one, several = database.marks(dialect, 1), database.marks(dialect, count)
    return (
        "SELECT entity_id, moment, vector, texts FROM features "  # noqa: S608  marks only
        f"WHERE feature_set = {one} AND entity_id IN ({several})"
    )


@lru_cache(maxsize=16)
def _result_processors(dialect: sa.Dialect) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """For the columns moment and texts, what makes Python's values of the driver's."""
    types = (column.type.dialect_impl(dialect) for column in (features.c.moment, features.c.texts))
    moment_of, texts_of = (each.result_processor(dialect, None) or (lambda value: value) for each in types)
    return lru_cache(maxsize=10_000)(moment_of), texts_of  # entities of one minute share their moment


def last_moment(engine: sa.Engine, question: Question, before: datetime) -> datetime | None:
    """The latest prediction moment in the online store, for that question, that is earlier than `before`."""
    by_event = (  # event times have an index, and are in the same order as the moments
        sa.select(features.c.moment)
        .join(entities, entities.c.entity_id == features.c.entity_id)
        .where(
            features.c.feature_set == feature_set_of(question),
            features.c.moment < before,
            entities.c.event_at < before + timedelta(minutes=question.lead_minutes),
        )
        .order_by(entities.c.event_at.desc())
    )
    with engine.connect() as connection:
        return connection.execute(by_event.limit(1)).scalar()


def entities_between(engine: sa.Engine, since: datetime, until: datetime) -> Sequence[sa.Row[Any]]:
    """The entities with an event time in [since, until), sorted by it."""
    event = entities.c.event_at
    query = sa.select(entities).where(event >= since, event < until).order_by(event, entities.c.entity_id)
    with engine.connect() as connection:
        return connection.execute(query).all()


def event_times(engine: sa.Engine, entity_ids: Sequence[str]) -> dict[str, datetime]:
    """The event times of these entities; an unknown entity is left out."""
    query = sa.select(entities.c.entity_id, entities.c.event_at).where(entities.c.entity_id.in_(entity_ids))
    with engine.connect() as connection:
        return {row.entity_id: row.event_at for row in connection.execute(query)}


def vectors_between(engine: sa.Engine, question: Question, since: datetime, until: datetime) -> dict[str, bytes]:
    """The stored vectors, as bytes, of all entities with a prediction moment in [since, until)."""
    query = sa.select(features.c.entity_id, features.c.vector).where(
        features.c.feature_set == feature_set_of(question), features.c.moment >= since, features.c.moment < until
    )
    with engine.connect() as connection:
        return {row.entity_id: row.vector for row in connection.execute(query)}


def texts_between(
    engine: sa.Engine, question: Question, since: datetime, until: datetime
) -> dict[str, Mapping[str, str]]:
    """The stored categorical features of all entities with an event time in [since, until)."""
    query = (
        sa.select(features.c.entity_id, features.c.texts)
        .join(entities, entities.c.entity_id == features.c.entity_id)
        .where(
            features.c.feature_set == feature_set_of(question),
            entities.c.event_at >= since,
            entities.c.event_at < until,
        )
    )
    with engine.connect() as connection:
        return {row.entity_id: row.texts or {} for row in connection.execute(query)}
