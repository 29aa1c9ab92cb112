"""Deletes old rows of the database, in small batches, so that the service can write between them.

`decisions` keeps the metrics of each day and is never pruned, nor is what keeps an erased entity from returning
(`forgotten`, `hash_keys`).
"""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from ontime import database
from ontime.database_tables import (
    dead_letters,
    entities,
    features,
    outcomes,
    predictions,
    shadows,
    stream_events,
    stream_ranges,
)
from ontime.params import Retention

BATCH_ROWS = 2000


class OldRows(NamedTuple):
    """The rows of a table whose `column` is below `limit`, without those that are still needed."""

    table: sa.Table
    column: sa.Column[Any]  # has an index, which makes a batch cheap
    limit: Any
    needed: sa.ColumnElement[bool] | None = None

    def between(self, after: Any, until: Any) -> sa.ColumnElement[bool]:
        """The condition for the rows of one batch; None: from the first, or until the limit."""
        conditions = [self.column < self.limit if until is None else self.column <= until]
        if after is not None:
            conditions.append(self.column > after)
        if self.needed is not None:
            conditions.append(sa.not_(self.needed))
        return sa.and_(*conditions)


def old_rows(
    retention: Retention, real_now: datetime, feed_now: datetime, needed_since: datetime, lead: timedelta
) -> list[OldRows]:
    """What to delete, in this order. Nothing about an entity with an event at or after `needed_since` is among it.

    Predictions and shadows age by the real time at which they were made, which their ids begin with; entities, features
    and outcomes by the times of the feed, which may be a past dataset. `lead`: from prediction moment to event.
    """
    prediction = predictions.alias()
    is_needed = sa.and_(entities.c.entity_id == predictions.c.entity_id, entities.c.event_at >= needed_since)
    shadow_is_needed = sa.and_(
        prediction.c.prediction_id == shadows.c.prediction_id,
        entities.c.entity_id == prediction.c.entity_id,
        entities.c.event_at >= needed_since,
    )
    # A shadow without its prediction is of no use.
    shadow_age = timedelta(days=min(retention.shadows_days, retention.predictions_days))
    features_limit = min(feed_now - timedelta(days=retention.features_days), needed_since - lead)
    outcomes_limit = min(feed_now - timedelta(days=retention.outcomes_days), needed_since)
    entities_limit = min(features_limit, outcomes_limit, feed_now - timedelta(days=retention.predictions_days))
    events_limit = min(feed_now - timedelta(days=retention.events_days), needed_since - lead)
    last_end = sa.select(sa.func.max(stream_ranges.alias().c.end)).scalar_subquery()
    return [
        OldRows(
            shadows,
            shadows.c.prediction_id,
            database.first_prediction_id(real_now - shadow_age),
            sa.exists().where(shadow_is_needed).correlate(shadows),
        ),
        OldRows(
            predictions,
            predictions.c.prediction_id,
            database.first_prediction_id(real_now - timedelta(days=retention.predictions_days)),
            sa.exists().where(is_needed).correlate(predictions),
        ),
        OldRows(features, features.c.moment, features_limit),
        OldRows(outcomes, outcomes.c.known_at, outcomes_limit),
        OldRows(entities, entities.c.event_at, entities_limit),  # last: the others are joined to it
        OldRows(stream_events, stream_events.c.moment, events_limit),
        # The end of the last range is where the next one begins.
        OldRows(stream_ranges, stream_ranges.c.end, events_limit, stream_ranges.c.end == last_end),
        OldRows(dead_letters, dead_letters.c.kept_at, real_now - timedelta(days=retention.events_days)),
    ]


def count(engine: sa.Engine, rows: OldRows) -> int:
    query = sa.select(sa.func.count()).select_from(rows.table).where(rows.between(None, None))
    with engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def delete(engine: sa.Engine, rows: OldRows) -> Iterator[int]:
    """Delete these rows in batches, and yield the number of rows of each.

    Each batch is a transaction of its own, so an interruption loses none of the work.
    """
    after = None
    while True:
        started = time.perf_counter()
        with engine.begin() as connection:
            until = _end_of_batch(connection, rows, after)
            count = connection.execute(sa.delete(rows.table).where(rows.between(after, until))).rowcount
        yield count
        if until is None:
            return
        after = until
        time.sleep(time.perf_counter() - started)  # SQLite has one writer: the service gets half of the time


def _end_of_batch(connection: sa.Connection, rows: OldRows, after: Any) -> Any:
    """The value of the column in the last row of the next batch; None if the limit comes first."""
    query = sa.select(rows.column).where(rows.column < rows.limit).order_by(rows.column)
    if after is not None:
        query = query.where(rows.column > after)
    return connection.execute(query.offset(BATCH_ROWS - 1).limit(1)).scalar()


def times_of(steps: Sequence[OldRows]) -> dict[str, str]:
    """By table, the time before which its rows are deleted, in UTC."""
    return {each.table.name: f"{_time_of(each.limit):%Y-%m-%d %H:%M}" for each in steps}


def _time_of(limit: Any) -> datetime:
    return limit if isinstance(limit, datetime) else database.time_of_prediction_id(limit)
