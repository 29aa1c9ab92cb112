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
def _holidays() -> NDArray[np.datetime64]:
    """US federal holidays of 1999 to 2100, sorted."""
    return np.array(HOLIDAYS.read_text(encoding="utf-8").split(), dtype="datetime64[D]")


def days_to_holiday(days: NDArray[np.datetime64]) -> Floats:
    """Days to the nearest holiday, at most NEAREST_HOLIDAY_DAYS. Raises ValueError for a day outside the calendar."""
    calendar = _holidays()
    if len(days) and not calendar[0] < days.min() <= days.max() <= calendar[-1]:
        raise ValueError(f"{HOLIDAYS.name} covers {calendar[0]} to {calendar[-1]}, not {days.min()} to {days.max()}")
    after = np.searchsorted(calendar, days)
    distance = np.minimum(calendar[after] - days, days - calendar[after - 1])
    return np.minimum(distance.astype(np.float64), NEAREST_HOLIDAY_DAYS)


def features(flights: Columns) -> Columns:
    """The features of the request. `flights` has one array for each field of `Flight`."""
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
