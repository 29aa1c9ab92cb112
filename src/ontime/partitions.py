"""Partitions of the feature table: ranges of time whose features are built alone, from the rows around them.

Time is the only key that every problem has: some features of an entity look at all others of the same hours.
"""

from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pandas as pd

from ontime import local_time
from ontime.params import FeatureParams

AHEAD = timedelta(days=2)  # after the last event: what is planned by then is all that a feature may look at


class Partition(NamedTuple):
    """The entities with `start <= event time < end`. `name` is that of its file."""

    name: str
    start: datetime
    end: datetime

    def window(self, params: FeatureParams) -> tuple[datetime, datetime]:
        return window(self.start, self.end, params)


def window(start: datetime, end: datetime, params: FeatureParams) -> tuple[datetime, datetime]:
    """The rows that features of events in [start, end) are built from: those with a moment in [since, until)."""
    return start - timedelta(hours=params.halo_hours), end + AHEAD


def month(name: str, zone: ZoneInfo) -> Partition:
    """The partition of a month, such as `2013-03`, in a time zone.

    >>> march = month("2013-03", ZoneInfo("America/New_York"))
    >>> march.start.isoformat(), march.end.isoformat()
    ('2013-03-01T00:00:00-05:00', '2013-04-01T00:00:00-04:00')
    """
    first = date.fromisoformat(f"{name}-01")
    following = (first + timedelta(days=31)).replace(day=1)
    start, end = (pd.Timestamp(local_time.midnight(day, zone)).tz_convert(zone) for day in (first, following))
    return Partition(name, start, end)
