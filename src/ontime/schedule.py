"""The features that a timetable alone tells, and the coding of all features into the model's numbers.

Training calls this with a month of flights, the service with the flights of one request: the same lines,
on numpy arrays, because the service has no pandas.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ontime import schema

Floats = NDArray[np.floating[Any]]

NEAREST_HOLIDAY_DAYS = 7
HOLIDAYS = Path(__file__).with_name("us_holidays.txt")  # written by `python -m pipelines.calendar`


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


def schedule_features(
    departure: NDArray[np.datetime64],
    arrival: NDArray[np.datetime64],
    elapsed_minutes: Floats,
    distance_miles: Floats,
) -> dict[str, Floats]:
    """The numeric features of the timetable. `departure` and `arrival` are wall times of `schema.CLOCK`."""
    day = departure.astype("datetime64[D]")
    return {
        "departure_minute": (departure - day).astype("timedelta64[m]").astype(np.float64),
        "arrival_minute": (arrival - arrival.astype("datetime64[D]")).astype("timedelta64[m]").astype(np.float64),
        "weekday": ((day.astype(np.int64) + 3) % 7).astype(np.float64),  # 1 January 1970 was a Thursday
        "days_to_holiday": days_to_holiday(day),
        "distance_miles": distance_miles,
        "elapsed_minutes": elapsed_minutes,
        "slack_minutes": elapsed_minutes - (40 + distance_miles / 7.6),
    }


def encode(
    columns: Mapping[str, Sequence[str] | Floats], categories: Mapping[str, Sequence[str]]
) -> NDArray[np.float32]:
    """Columns in the order of the model: float32, n x features. A category unseen in training is NaN."""
    matrix = np.empty((len(columns[schema.FEATURE_NAMES[0]]), len(schema.FEATURE_NAMES)), dtype=np.float32)
    for position, name in enumerate(schema.FEATURE_NAMES):
        values = columns[name]
        if name in categories:
            codes = {category: code for code, category in enumerate(categories[name])}
            values = np.array([codes.get(str(value), np.nan) for value in values])
        matrix[:, position] = values
    return matrix
