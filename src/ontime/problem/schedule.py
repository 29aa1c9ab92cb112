"""The features that a timetable alone tells: what the service computes from a request.

Training calls this with a month of flights, the service with the flights of one request: the same lines,
on numpy arrays, because the service has no pandas.
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
def _holidays() -> NDArray[np.datetime64]:
    """US federal holidays of 1999 to 2100, sorted."""
    return np.array(HOLIDAYS.read_text(encoding="utf-8").split(), dtype="datetime64[D]")


def days_to_holiday(days: NDArray[np.datetime64]) -> Floats:
    """Raises ValueError for a day that the calendar does not reach."""
    calendar = _holidays()
    if len(days) and not calendar[0] < days.min() <= days.max() <= calendar[-1]:
        raise ValueError(
            f"{HOLIDAYS.name} reaches from {calendar[0]} to {calendar[-1]}, not {days.min()} to {days.max()}"
        )
    after = np.searchsorted(calendar, days)
    distance = np.minimum(calendar[after] - days, days - calendar[after - 1])
    return np.minimum(distance.astype(np.float64), NEAREST_HOLIDAY_DAYS)


def features(flights: Columns) -> Columns:
    """`flights`: the fields of `Flight`, one array each."""
    departure, arrival = (wall(flights[name], CLOCK) for name in ("scheduled_departure", "scheduled_arrival"))
    elapsed = (flights["scheduled_arrival"] - flights["scheduled_departure"]).astype("timedelta64[s]")
    minutes, miles = elapsed.astype(np.float64) / 60, flights["distance_miles"].astype(np.float64)
    return {
        **{name: flights[name] for name in ("carrier", "origin", "dest")},
        "departure_minute": minute_of_day(departure),
        "arrival_minute": minute_of_day(arrival),
        "weekday": weekday(departure),
        "days_to_holiday": days_to_holiday(departure.astype("datetime64[D]")),
        "distance_miles": miles,
        "elapsed_minutes": minutes,
        "slack_minutes": minutes - (40 + miles / 7.6),
    }
