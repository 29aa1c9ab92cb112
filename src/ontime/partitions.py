"""Partitions of the feature table: ranges of time whose features are built alone, from the rows around them.

Time is the only key that every problem has: some features of an entity look at all others of the same hours. A problem
whose rows fall into independent groups, such as regions, declares a second one: `Data.partition_key`.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pandas as pd

from ontime import local_time
from ontime.params import FeatureParams

AHEAD = timedelta(days=2)  # after the last event: what is planned by then is all that a feature may look at


class Partition(NamedTuple):
    """The entities with `start <= event time < end`; with a `key`, those that have it. `name` is that of its file.

    The name begins with the month, such as `2013-03`, `2013-03-08` for a week, or `2013-03_north` with a key.
    """

    name: str
    start: datetime
    end: datetime
    key: str | None = None

    def window(self, params: FeatureParams) -> tuple[datetime, datetime]:
        return window(self.start, self.end, params)

    def with_key(self, key: str) -> "Partition":
        """The entities of this partition that have the key.

        >>> month("2013-03", ZoneInfo("UTC")).with_key("north/west").name
        '2013-03_north%2Fwest'
        """
        return self._replace(name=f"{self.name}_{quote(key, safe='')}", key=key)


def window(start: datetime, end: datetime, params: FeatureParams) -> tuple[datetime, datetime]:
    """The rows that features of events in [start, end) are built from: those with a moment in [since, until)."""
    return start - timedelta(hours=params.halo_hours), end + AHEAD


def month(name: str, zone: ZoneInfo) -> Partition:
    """The partition of a month, such as `2013-03`, in a time zone.

    >>> march = month("2013-03", ZoneInfo("America/New_York"))
    >>> march.start.isoformat(), march.end.isoformat()
    ('2013-03-01T00:00:00-05:00', '2013-04-01T00:00:00-04:00')
    """
    first = _first_day(name)
    return Partition(name, _midnight(first, zone), _midnight(_first_day_after(first), zone))


def weeks(name: str, zone: ZoneInfo) -> Iterator[Partition]:
    """A month in parts of seven days, the last one shorter: none crosses the end of a month, which is a file elsewhere.

    >>> [week.name for week in weeks("2013-02", ZoneInfo("America/New_York"))]
    ['2013-02-01', '2013-02-08', '2013-02-15', '2013-02-22']
    """
    day = _first_day(name)
    end = _first_day_after(day)
    while day < end:
        following = min(day + timedelta(days=7), end)
        yield Partition(day.isoformat(), _midnight(day, zone), _midnight(following, zone))
        day = following


def _first_day(month: str) -> date:
    return date.fromisoformat(f"{month}-01")


def _first_day_after(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return pd.Timestamp(local_time.midnight(day, zone)).tz_convert(zone)
