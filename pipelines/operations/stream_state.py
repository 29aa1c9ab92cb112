"""The recent rows of all tables, as the events of a stream have told them so far.

The rows of a table with plans are put together from their events: of two values, the one known later wins, and at the
same time the one that came later. So the order in which events arrive does not matter. Rows are kept as long as
features look back; `ontime stream` reads them again from the database when it starts.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime.availability import Scheduled
from ontime.datasets import Table, Tables
from ontime.problem.data import DATA
from pipelines.operations.stream_events import Event, EventColumn, EventParser
from pipelines.operations.stream_store import StoredEvent

Key = tuple[Any, ...]

FORGOTTEN_AT_ONCE = timedelta(hours=6)


class Position(NamedTuple):
    """Where an event stands in its topic."""

    topic: str
    partition: int
    offset: int


class RecentRows:
    """`tables` are those of the dataset, with the rows whose moment is at or after `since`."""

    def __init__(self, small: Tables, parser: EventParser, since: datetime) -> None:
        self.since = since
        self.last_event = 0
        self._small = small
        self._tables = {table.name: _TableRows(table, parser) for table in DATA.long}

    def add(self, events: Iterable[StoredEvent]) -> None:
        """Add events, in the order of their numbers."""
        for event in events:
            self._tables[event.table].add(event)
            self.last_event = event.number

    def forget_before(self, since: datetime) -> None:
        """Drop the rows with an earlier moment, some hours at a time."""
        if since < self.since + FORGOTTEN_AT_ONCE:
            return
        self.since = since
        for rows in self._tables.values():
            rows.forget_before(self.since)

    @property
    def tables(self) -> Tables:
        """All tables, each sorted by its moment; rows with the same moment in the order in which they came."""
        return {**self._small, **{name: rows.frame() for name, rows in self._tables.items()}}

    def has(self, event: Event) -> bool:
        """Whether the same event is there already: a repetition of its message."""
        return self._tables[event.table].has(event)

    def position_of(self, entity_id: str) -> Position:
        """Where the first event of an entity stands, which identifies it for good."""
        return self._tables[DATA.entities].positions[(entity_id,)]


class _Part(NamedTuple):
    """The values of an event; parts of a row are in the order in which their values replace each other."""

    known_at: datetime
    number: int
    values: Mapping[str, Any]


class _TableRows:
    """The rows of one table: their parts by key, and a frame of the rows that is brought up to date when it is read."""

    def __init__(self, table: Table, parser: EventParser) -> None:
        self._moment = str(table.moment)
        self._columns = parser.columns[table.name]
        planned = table.availability.planned if isinstance(table.availability, Scheduled) else ()
        self._planned = {*planned}
        self._key = parser.keys[table.name] if planned else ()
        self.positions: dict[Key, Position] = {}
        self._parts: dict[Key, list[_Part]] = {}
        self._labels: dict[Key, int] = {}
        self._next_label = count()
        self._changed: dict[Key, None] = {}
        # Of each row its label, partition and offset, beside the frame.
        self._frame, self._places = _frame([], self._columns), np.empty((0, 3), np.int64)

    def add(self, event: StoredEvent) -> None:
        position = Position(event.topic, event.partition, event.offset)
        key = self._key_of(event.values)
        if key not in self._parts:
            self._parts[key], self._labels[key] = [], next(self._next_label)
            self.positions[key] = position
        self._parts[key].append(_Part(event.known_at, event.number, event.values))
        self.positions[key] = min(self.positions[key], position)
        self._changed[key] = None

    def has(self, event: Event) -> bool:
        parts = self._parts.get(self._key_of(event.values), ())
        return any((part.known_at, part.values) == (event.known_at, event.values) for part in parts)

    def _key_of(self, values: Mapping[str, Any]) -> Key:
        """The columns by which events find their row; all values of a row that comes as a whole."""
        return tuple(values[name] for name in self._key) if self._key else tuple(sorted(values.items()))

    def forget_before(self, since: datetime) -> None:
        old = (self.frame()[self._moment] < since).to_numpy()
        labels = {*self._places[old, 0].tolist()}
        self._keep(~old)
        for key in [key for key, label in self._labels.items() if label in labels]:
            del self._parts[key], self._labels[key], self.positions[key]

    def frame(self) -> pd.DataFrame:
        if self._changed:
            self._update()
        return self._frame

    def _update(self) -> None:
        rows = {key: _row(self._parts[key]) for key in self._changed}
        # Without its plan, a row is not known to exist.
        keys = [key for key, row in rows.items() if self._planned <= row.keys()]
        places = np.array([(self._labels[key], *self.positions[key][1:]) for key in keys], np.int64).reshape(-1, 3)
        self._keep(~np.isin(self._places[:, 0], places[:, 0]))
        changed = _frame([rows[key] for key in keys], self._columns)
        self._frame = pd.concat([self._frame, changed], ignore_index=True) if len(self._frame) else changed
        self._places = np.concatenate([self._places, places])
        _, partitions, offsets = self._places.T
        self._keep(np.lexsort((offsets, partitions, self._frame[self._moment].astype("int64"))))
        self._changed.clear()

    def _keep(self, chosen: NDArray[Any]) -> None:
        """Keep the rows of a mask, or put all rows into an order."""
        unchanged = chosen.all() if chosen.dtype == bool else bool((np.diff(chosen) > 0).all())
        if not unchanged:
            self._frame = (self._frame[chosen] if chosen.dtype == bool else self._frame.take(chosen)).reset_index(
                drop=True
            )
            self._places = self._places[chosen]


def _row(parts: Sequence[_Part]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for part in sorted(parts, key=lambda part: (part.known_at, part.number)):
        row |= part.values
    return row


def _frame(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, EventColumn]) -> pd.DataFrame:
    """The rows with the types of their table's contract; of a column without a value yet, null."""
    return pd.DataFrame(
        {name: _typed([row.get(name) for row in rows], column.dtype) for name, column in columns.items()}
    )


def _typed(values: Sequence[Any], dtype: Any) -> Any:
    if pd.api.types.is_datetime64_any_dtype(dtype):
        # Not by pd.to_datetime, which takes much longer for the few rows of a step.
        return pd.array([None if value is None else datetime.fromisoformat(value) for value in values], dtype=dtype)
    if pd.api.types.is_integer_dtype(dtype) and None in values:
        return np.array(values, np.float64)  # as in a table as of a moment: null is not an integer
    return np.array(values, object) if pd.api.types.is_object_dtype(dtype) else pd.array(values, dtype=dtype)
