"""Moments in UTC as a zone's clock shows them, in numpy: the service has no pandas."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

QUARTER = 15 * 60  # seconds; no zone changes its offset within one
Moments = NDArray[np.datetime64]


def wall(moments: Moments, zone: str) -> Moments:
    """Of moments in UTC, what the zone's clock shows, to the microsecond."""
    exact = moments.astype("datetime64[us]")
    quarters, place = np.unique(exact.astype("datetime64[s]").astype(np.int64) // QUARTER, return_inverse=True)
    ahead = np.array([_seconds_ahead(quarter, zone) for quarter in quarters.tolist()], dtype="timedelta64[s]")
    shown: Moments = exact + ahead[place]
    return shown


@lru_cache(maxsize=100_000)
def _seconds_ahead(quarter: int, zone: str) -> int:
    offset = datetime.fromtimestamp(quarter * QUARTER, UTC).astimezone(ZoneInfo(zone)).utcoffset()
    return int((offset or timedelta(0)).total_seconds())


def minute_of_day(shown: Moments) -> NDArray[np.float64]:
    return (shown - shown.astype("datetime64[D]")).astype("timedelta64[m]").astype(np.float64)


def weekday(shown: Moments) -> NDArray[np.float64]:
    """Monday is 0."""
    return ((shown.astype("datetime64[D]").astype(np.int64) + 3) % 7).astype(np.float64)  # 1 January 1970: a Thursday
