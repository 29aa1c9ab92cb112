"""Converts times from UTC to a time zone, in numpy, because the service has no pandas."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

QUARTER_SECONDS = 15 * 60  # no zone changes its offset within a quarter of an hour
Moments = NDArray[np.datetime64]


def wall(moments: Moments, zone: str) -> Moments:
    """The wall clock of a time zone at times in UTC, to the microsecond, in an array of the same shape.

    >>> wall(np.array(["2013-07-01T12:00"], "datetime64[m]"), "America/New_York").astype(str).tolist()
    ['2013-07-01T08:00:00.000000']
    """
    exact = moments.astype("datetime64[us]")
    quarters = exact.astype("datetime64[s]").astype(np.int64) // QUARTER_SECONDS
    offsets = np.array([_seconds_ahead(quarter, zone) for quarter in quarters.ravel().tolist()], "timedelta64[s]")
    local: Moments = exact + offsets.reshape(exact.shape)
    return local


@lru_cache(maxsize=100_000)
def _seconds_ahead(quarter: int, zone: str) -> int:
    offset = datetime.fromtimestamp(quarter * QUARTER_SECONDS, UTC).astimezone(ZoneInfo(zone)).utcoffset()
    return int((offset or timedelta(0)).total_seconds())


def minute_of_day(local: Moments) -> NDArray[np.float64]:
    return (local - local.astype("datetime64[D]")).astype("timedelta64[m]").astype(np.float64)


def weekday(local: Moments) -> NDArray[np.float64]:
    """Monday is 0."""
    return ((local.astype("datetime64[D]").astype(np.int64) + 3) % 7).astype(np.float64)  # 1 January 1970: a Thursday
