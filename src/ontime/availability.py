"""The availability of a table: when its rows and columns are known, and the table as of a moment.

A declaration names the columns that are known early. Any other column is hidden until its row has ended, so a column
that is missing from the declaration cannot leak.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd


@dataclass(frozen=True)
class Static:
    """A table that is always known, such as a list of places."""

    columns: tuple[str, ...] = ()

    def as_of(self, table: pd.DataFrame, _: datetime) -> pd.DataFrame:
        return table


@dataclass(frozen=True)
class Observed:
    """A table whose whole rows are known from the time in the column `known_at` on."""

    known_at: str = "known_at"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the table must have."""
        return (self.known_at,)

    def as_of(self, table: pd.DataFrame, moment: datetime) -> pd.DataFrame:
        return table[table[self.known_at] <= moment]


@dataclass(frozen=True)
class Scheduled:
    """A table of planned entities and of the events that happen to them.

    The `planned` columns of a row are known from `ahead` before the time in its column `at`. Each key of `events` is a
    column with a time, from which that column and the ones listed for it are known. The row ends at the time in `end`,
    or, if that is missing, `final_after` the time in `due`; then all of its columns are known.

    >>> day = pd.Timestamp("2013-11-27", tz="UTC")
    >>> trips = pd.DataFrame({
    ...     "start": [day.replace(hour=12)], "line": ["M4"], "left": [day.replace(hour=12, minute=5)], "delay": [5.0],
    ...     "arrived": [day.replace(hour=13)], "due": [day.replace(hour=12, minute=50)], "late": [True],
    ... })
    >>> scheduled = Scheduled(
    ...     at="start", ahead=timedelta(days=1), planned=("start", "line", "due"), events={"left": ("delay",)},
    ...     end="arrived", due="due", final_after=timedelta(hours=6),
    ... )
    >>> shown = ["line", "delay", "late"]
    >>> for hour in (11, 12.5, 13):
    ...     print(scheduled.as_of(trips, day + timedelta(hours=hour))[shown].to_string(header=False, index=False))
    M4 NaN NaN
    M4 5.0 NaN
    M4 5.0 True
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
        """The columns that the table must have."""
        event_columns = (name for event, names in self.events.items() for name in (event, *names))
        return (self.at, *self.planned, *event_columns, self.end, self.due)

    def as_of(self, table: pd.DataFrame, moment: datetime) -> pd.DataFrame:
        """The rows known at `moment`, with null for values not known yet. An integer column may become float."""
        rows = table[table[self.at] < moment + self.ahead].copy()
        ended = (rows[self.end] <= moment) | (rows[self.end].isna() & (rows[self.due] + self.final_after <= moment))
        is_known = {
            name: (rows[event] <= moment) | (rows[event].isna() & ended)
            for event, names in self.events.items()
            for name in (event, *names)
        }
        for name in rows.columns.difference([*self.planned]):
            rows[name] = rows[name].where(is_known.get(name, ended))
        return rows


Availability = Static | Observed | Scheduled
