"""The features that are computed from the request alone, by the same code in training and in the service.

Training passes a month of flights, the service the flights of one request: numpy arrays, because the service has no
pandas.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ontime.declaration import Columns
from ontime.problem.request import CLOCK
from ontime.times import minute_of_day, wall, weekday

Floats = NDArray[np.floating[Any]]

NEAREST_HOLIDAY_DAYS = 7
HOLIDAYS = Path(__file__).with_name("us_holidays.txt")  # written by `python -m ontime.problem.holidays`


@cache
def _calendar() -> tuple[NDArray[np.datetime64], Floats]:
    """The days from the first to the last of the US federal holidays, 1999 to 2100, and of each its distance."""
    holidays = np.array(HOLIDAYS.read_text(encoding="utf-8").split(), dtype="datetime64[D]")
    days = np.arange(holidays[0], holidays[-1] + 1)
    after = np.searchsorted(holidays, days)
    distance = np.minimum(holidays[after] - days, days - holidays[np.maximum(after - 1, 0)])
    return days, np.minimum(np.abs(distance.astype(np.float64)), NEAREST_HOLIDAY_DAYS)


def days_to_holiday(days: NDArray[np.datetime64]) -> Floats:
    """Days to the nearest holiday, at most NEAREST_HOLIDAY_DAYS. Raises ValueError for a day outside the calendar."""
    calendar, distances = _calendar()
    places = (days - calendar[0]).astype(np.int64)
    if len(days) and not 0 < places.min() <= places.max() < len(calendar):
        raise ValueError(f"{HOLIDAYS.name} covers {calendar[0]} to {calendar[-1]}, not {days.min()} to {days.max()}")
    return distances[places]


def features(flights: Columns) -> Columns:
    """The features of the request. `flights` has one array for each field of `Flight`."""
    scheduled = np.stack([flights["scheduled_departure"], flights["scheduled_arrival"]])
    local = wall(scheduled, CLOCK)
    departure_minute, arrival_minute = minute_of_day(local)
    elapsed = (scheduled[1] - scheduled[0]).astype("timedelta64[s]")
    minutes, miles = elapsed.astype(np.float64) / 60, flights["distance_miles"].astype(np.float64)
    return {
        **{name: flights[name] for name in ("carrier", "origin", "dest")},
        "departure_minute": departure_minute,
        "arrival_minute": arrival_minute,
        "weekday": weekday(local[0]),
        "days_to_holiday": days_to_holiday(local[0].astype("datetime64[D]")),
        "distance_miles": miles,
        "elapsed_minutes": minutes,
        "slack_minutes": minutes - (40 + miles / 7.6),
    }
