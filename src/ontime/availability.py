"""When what a table says is known. A declaration names the columns known early; every other column is known last.

So a column that nobody has declared stays hidden until its row has ended: forgetting one hides it, and cannot leak it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd


@dataclass(frozen=True)
class Static:
    """A table that is known all along, such as a list of places."""

    columns: tuple[str, ...] = ()

    def as_of(self, table: pd.DataFrame, _: datetime) -> pd.DataFrame:
        return table


@dataclass(frozen=True)
class Observed:
    """A table whose rows are known as a whole, each from the moment in its column `known_at` on."""

    known_at: str = "known_at"

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that the table must have."""
        return (self.known_at,)

    def as_of(self, table: pd.DataFrame, moment: datetime) -> pd.DataFrame:
        return table[table[self.known_at] <= moment]


@dataclass(frozen=True)
class Scheduled:
    """A table of what is planned, and of what happens to it.

    A row is known from `ahead` before the moment in its column `at` on, with its `planned` columns. Each of `events`
    is the column of a moment, with the columns that are known from that moment on. The row ends at the moment in
    `end`, or, where that never comes, `final_after` the moment in `due`; then all of its columns are known.
    """

    at: str
    ahead: timedelta
    planned: tuple[str, ...]
    events: Mapping[str, tuple[str, ...]]
    end: str
    due: str
    final_after: timedelta

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that the table must have."""
        happening = (name for event, names in self.events.items() for name in (event, *names))
        return (self.at, *self.planned, *happening, self.end, self.due)

    def as_of(self, table: pd.DataFrame, moment: datetime) -> pd.DataFrame:
        """The rows known at `moment`, null where their columns are not. An integer column may become one of floats."""
        rows = table[table[self.at] < moment + self.ahead].copy()
        ended = (rows[self.end] <= moment) | (rows[self.end].isna() & (rows[self.due] + self.final_after <= moment))
        known = {
            name: (rows[event] <= moment) | (rows[event].isna() & ended)
            for event, names in self.events.items()
            for name in (event, *names)
        }
        for name in rows.columns.difference([*self.planned]):
            rows[name] = rows[name].where(known.get(name, ended))
        return rows


Availability = Static | Observed | Scheduled
