"""The features that a timetable alone tells, and the coding of all features into the model's numbers.

Training calls this with a month of flights, the service with the flights of one request: the same lines,
on numpy arrays, because the service has no pandas.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import holidays
import numpy as np
from numpy.typing import NDArray

from ontime import schema

Floats = NDArray[np.floating[Any]]

NEAREST_HOLIDAY_DAYS = 7


@cache
def _holidays(year: int) -> NDArray[np.datetime64]:
    """US federal holidays of a year and of its neighbours, sorted."""
    days = holidays.country_holidays("US", years=(year - 1, year, year + 1), observed=False)
    return np.array(sorted(days), dtype="datetime64[D]")


def days_to_holiday(days: NDArray[np.datetime64]) -> Floats:
    nearest = np.full(len(days), NEAREST_HOLIDAY_DAYS, dtype=np.float64)
    years = days.astype("datetime64[Y]").astype(int) + 1970
    for year in np.unique(years):
        calendar, chosen = _holidays(int(year)), years == year
        after = np.searchsorted(calendar, days[chosen])
        distance = np.minimum(np.abs(calendar[after] - days[chosen]), np.abs(days[chosen] - calendar[after - 1]))
        nearest[chosen] = np.minimum(distance.astype(int), NEAREST_HOLIDAY_DAYS)
    return nearest


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
            different, which = np.unique(np.asarray(values, dtype=str), return_inverse=True)
            values = np.array([codes.get(str(value), np.nan) for value in different])[which]
        matrix[:, position] = values
    return matrix
