"""The flights that the features of a period are computed from, as arrays of whole minutes."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime.declaration import Question
from ontime.events import NEVER, Integers
from ontime.params import FeatureParams
from ontime.problem.catalogue import GROUPS, LATEST_ARRIVAL_HOURS

Floats = NDArray[np.floating[Any]]
Columns = dict[str, Floats]

HOUR_MINUTES = 60
TIMETABLE_AHEAD = timedelta(hours=1)  # congestion features count departures up to an hour after a flight


@dataclass(frozen=True)
class FlightWindow:
    """Flights near the period as arrays; times in minutes since 1970, UTC."""

    flights: pd.DataFrame
    in_period: NDArray[np.bool_]  # the flights whose features are computed
    scheduled_departure: Integers
    scheduled_arrival: Integers
    actual_departure: Integers  # NEVER if the flight did not depart
    actual_arrival: Integers  # NEVER if it did not arrive
    groups: dict[str, Integers]
    moment: Integers  # the prediction moment of each flight in the period
    lookback: int  # minutes

    def codes(self, group: str) -> Integers:
        """The group of each flight in the period."""
        return self.groups[group][self.in_period]


def window_of(flights: pd.DataFrame, start: datetime, end: datetime, params: FeatureParams, hours: int) -> FlightWindow:
    """The window of features that use what happened in the `hours` before the prediction moment.

    A flight that arrived in these hours may have been scheduled LATEST_ARRIVAL_HOURS earlier.
    """
    scheduled = flights["scheduled_departure"]
    first = start - timedelta(hours=hours + LATEST_ARRIVAL_HOURS, minutes=params.lead_minutes)
    near = flights[(scheduled >= first) & (scheduled < end + TIMETABLE_AHEAD)]
    in_period = near["scheduled_departure"].between(start, end, inclusive="left").to_numpy()
    departure = minutes_of(near["scheduled_departure"])
    return FlightWindow(
        flights=near,
        in_period=in_period,
        scheduled_departure=departure,
        scheduled_arrival=minutes_of(near["scheduled_arrival"]),
        actual_departure=minutes_of(near["departed_at"]),
        actual_arrival=minutes_of(near["arrived_at"]),
        groups=_codes(near),
        moment=departure[in_period] - params.lead_minutes,
        lookback=hours * HOUR_MINUTES,
    )


def _codes(flights: pd.DataFrame) -> dict[str, Integers]:
    """For each of GROUPS, a number for each flight: -1 where a column of the group is empty."""
    numbers = {name: pd.factorize(flights[name]) for name in dict.fromkeys(chain(*GROUPS.values()))}
    codes: dict[str, Integers] = {}
    for group, columns in GROUPS.items():
        code: Integers = np.zeros(len(flights), dtype=np.int64)
        for values, unique in map(numbers.__getitem__, columns):
            code = np.where((code < 0) | (values < 0), -1, code * len(unique) + values)
        codes[group] = code
    return codes


def minutes_of(moments: pd.Series) -> Integers:
    """Whole minutes since 1970, UTC; NEVER where a time is unknown."""
    minutes = moments.dt.tz_localize(None).to_numpy("datetime64[m]")
    return np.where(np.isnat(minutes), NEVER, minutes.astype(np.int64))


def pick(values: Floats | Integers, row: Integers) -> Floats:
    """`values[row]`; NaN where the row is -1."""
    return np.append(values, np.nan)[row] if len(values) else np.full(len(row), np.nan)


def delay_and_late(actual: Integers, scheduled: Integers, question: Question) -> dict[str, Integers]:
    """The delay of each flight, and whether it reaches the limit of the label; 0 of one that is not known."""
    delay = np.where(actual < NEVER, actual - scheduled, 0)
    return {"delay": delay, "late": (delay >= question.label_at_least).astype(np.int64)}


def share(part: Integers, whole: Integers) -> Floats:
    """part / whole; NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
