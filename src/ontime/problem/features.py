"""The features of a flight as of its prediction moment: the only implementation, for training and production.

The moment is the scheduled departure less the lead. An event (a departure, an arrival, an observation of the
weather) has a moment at which it is known; nothing known later enters. The timetable is known all along.
Each function below makes one family of features; `catalogue.py` says what each of them means.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime.datasets import Tables
from ontime.declaration import Question
from ontime.events import ALL_HISTORY, NEVER, Events, Integers
from ontime.params import FeatureParams
from ontime.problem.catalogue import (
    ARRIVAL_WINDOWS,
    DEPARTURE_WINDOWS,
    MEASURED,
    OVERDUE_GROUPS,
    TIMETABLE_MINUTES,
    TIMETABLED,
)
from ontime.problem.request import ORIGINS

Floats = NDArray[np.floating[Any]]
Columns = dict[str, Floats]

HOUR = 60
OVERDUE_SPAN = 3 * HOUR
AHEAD = timedelta(hours=1)  # the timetable is read so far beyond the window


@dataclass(frozen=True)
class _Window:
    """Flights as arrays, times in minutes since 1970 (UTC), and which of them are asked for."""

    flights: pd.DataFrame
    asked: NDArray[np.bool_]
    leaves: Integers  # scheduled
    lands: Integers  # scheduled
    departed: Integers  # NEVER when it did not
    arrived: Integers
    groups: dict[str, Integers]
    moment: Integers  # of the asked flights
    lookback: int

    def of_asked(self, group: str) -> Integers:
        return self.groups[group][self.asked]


def as_of(tables: Tables, start: datetime, end: datetime, params: FeatureParams, question: Question) -> Columns:
    """The features that a request does not tell, of each flight with `start <= scheduled_departure < end`, in order.

    `tables` must reach back `halo_hours` before `start` and, for the timetable, an hour beyond `end`; what
    lies outside is not looked at, so a month built alone equals the same month built with its year.
    """
    window = _window(tables["flights"], start, end, params)
    return {
        **_congestion(window),
        **_plane(window.flights[window.asked], tables["planes"]),
        **_weather(window, tables["weather"], start, end, params),
        **_operations(window, question),
        **_overdue(window),
        **_rotation(window),
    }


def _to_minutes(moments: pd.Series) -> Integers:
    whole = moments.dt.tz_localize(None).to_numpy("datetime64[m]")
    return np.where(np.isnat(whole), NEVER, whole.astype(np.int64))


def _window(flights: pd.DataFrame, start: datetime, end: datetime, params: FeatureParams) -> _Window:
    scheduled = flights["scheduled_departure"]
    near = flights[(scheduled >= start - timedelta(hours=params.halo_hours)) & (scheduled < end + AHEAD)]
    asked = near["scheduled_departure"].between(start, end, inclusive="left").to_numpy()
    codes = {name: pd.factorize(near[name])[0].astype(np.int64) for name in ("origin", "carrier", "dest", "tailnum")}
    leaves = _to_minutes(near["scheduled_departure"])
    return _Window(
        flights=near,
        asked=asked,
        leaves=leaves,
        lands=_to_minutes(near["scheduled_arrival"]),
        departed=_to_minutes(near["departed_at"]),
        arrived=_to_minutes(near["arrived_at"]),
        groups={
            **codes,
            "all": np.zeros(len(near), dtype=np.int64),
            "origin_carrier": codes["origin"] * (codes["carrier"].max(initial=0) + 1) + codes["carrier"],
        },
        moment=leaves[asked] - params.lead_minutes,
        lookback=params.lookback_hours * HOUR,
    )


def _congestion(window: _Window) -> Columns:
    columns: Columns = {}
    for group in TIMETABLED:
        timetable = Events(window.groups[group], window.leaves)
        for minutes in TIMETABLE_MINUTES:
            until = window.leaves[window.asked] + minutes
            count, _ = timetable.within(window.of_asked(group), until, 2 * minutes + 1)
            columns[f"timetable_{group}_{minutes}min"] = count.astype(np.float64)
    return columns


def _plane(flights: pd.DataFrame, planes: pd.DataFrame) -> Columns:
    plane = planes.set_index("tailnum").reindex(flights["tailnum"])
    year = flights["scheduled_departure"].dt.year.to_numpy()
    return {
        "plane_age_years": year - plane["built_year"].to_numpy(np.float64),
        "plane_seats": plane["seats"].to_numpy(np.float64),
        "plane_engines": plane["engines"].to_numpy(np.float64),
    }


def _weather(window: _Window, weather: pd.DataFrame, start: datetime, end: datetime, params: FeatureParams) -> Columns:
    reach = start - timedelta(hours=params.halo_hours)
    observed = _with_changes(weather[(weather["hour"] >= reach) & (weather["hour"] < end)])
    origins = {origin: code for code, origin in enumerate(ORIGINS)}
    known_at = _to_minutes(observed["known_at"])
    events = Events(observed["origin"].map(origins).to_numpy(np.int64), known_at)
    asked = window.flights["origin"][window.asked].map(origins).to_numpy(np.int64)
    row = events.latest(asked, window.moment, window.lookback)
    values = observed.drop(columns=["origin", "hour", "known_at"])
    columns = {str(name): _pick(values[name].to_numpy(np.float64), row) for name in values}
    return columns | {"weather_age_hours": (window.moment - _pick(known_at, row)) / HOUR}


def _with_changes(weather: pd.DataFrame) -> pd.DataFrame:
    """The observations with what they changed over three hours; hours are matched by time, as some are missing."""
    by_hour = pd.MultiIndex.from_arrays([weather["origin"], weather["hour"]])

    def row_of(hours: int) -> Integers:
        """The row so many hours earlier at the same origin, -1 where there is none."""
        earlier = weather["hour"] - pd.Timedelta(hours=hours)
        return by_hour.get_indexer(pd.MultiIndex.from_arrays([weather["origin"], earlier]))

    three_hours_ago = row_of(3)

    def change(column: str) -> Floats:
        values = weather[column].to_numpy(np.float64)
        return values - _pick(values, three_hours_ago)

    rain = weather["precip_inches"].to_numpy(np.float64)
    last_three = (rain, _pick(rain, row_of(1)), _pick(rain, row_of(2)))
    return weather[["origin", "hour", "known_at", *MEASURED]].assign(
        temp_change_3h_f=change("temp_f"),
        pressure_change_3h_mb=change("pressure_mb"),
        precip_3h_inches=sum(np.nan_to_num(values) for values in last_three),
    )


def _pick(values: NDArray[np.float64] | Integers, row: Integers) -> Floats:
    """`values[row]`, NaN where the row is -1."""
    return np.append(values, np.nan)[row] if len(values) else np.full(len(row), np.nan)


def _share(part: Integers, whole: Integers) -> Floats:
    """part / whole, NaN where there is nothing to share."""
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _operations(window: _Window, question: Question) -> Columns:
    """Count, late share and mean delay of the departures and arrivals known at the moment.

    A departure is late by the same minutes as the label: "late" means one thing everywhere.
    """
    columns: Columns = {}
    kinds = (
        ("departures", window.departed, window.leaves, DEPARTURE_WINDOWS),
        ("arrivals", window.arrived, window.lands, ARRIVAL_WINDOWS),
    )
    for kind, happened, scheduled, spans in kinds:
        delay = np.where(happened < NEVER, happened - scheduled, 0)
        values = {"delay": delay, "late": (delay >= question.label_at_least).astype(np.int64)}
        events = {group: Events(window.groups[group], happened, values) for group, _ in spans}
        for group, hours in spans:
            count, sums = events[group].within(window.of_asked(group), window.moment, hours * HOUR)
            stem = f"{kind}_{group}_{hours}h"
            columns[f"{stem}_count"] = count.astype(np.float64)
            columns[f"{stem}_late"] = _share(sums["late"], count)
            columns[f"{stem}_delay"] = _share(sums["delay"], count)
    return columns


def _overdue(window: _Window) -> Columns:
    """Of the flights scheduled in the last three hours: who has not left, and how long all have waited.

    A flight waits from its scheduled departure until it leaves, or until the span has passed over it (a
    cancelled one: nobody tells us when it was cancelled). So who waits is who has begun less who has ended.
    """
    columns: Columns = {}
    ended = np.maximum(window.leaves, np.minimum(window.departed, window.leaves + OVERDUE_SPAN))
    for group in OVERDUE_GROUPS:
        codes, asked = window.groups[group], window.of_asked(group)
        begins = Events(codes, window.leaves, {"leaves": window.leaves})
        ends = Events(codes, ended, {"leaves": window.leaves})
        scheduled, _ = begins.within(asked, window.moment, OVERDUE_SPAN)
        begun, begun_sum = begins.within(asked, window.moment, ALL_HISTORY)
        over, over_sum = ends.within(asked, window.moment, ALL_HISTORY)
        waited = (begun - over) * window.moment - (begun_sum["leaves"] - over_sum["leaves"])
        columns[f"overdue_{group}_share"] = _share(begun - over, scheduled)
        columns[f"overdue_{group}_wait"] = _share(waited, scheduled)
    return columns


def _rotation(window: _Window) -> Columns:
    """Where the aircraft was last seen, and what its previous leg leaves of the time until this one."""
    tail, moment = window.of_asked("tailnum"), window.moment
    columns: Columns = {}
    for kind, happened, scheduled in (
        ("departure", window.departed, window.leaves),
        ("arrival", window.arrived, window.lands),
    ):
        row = Events(window.groups["tailnum"], happened).latest(tail, moment, window.lookback)
        columns[f"aircraft_{kind}_delay"] = _pick(happened - scheduled, row)
        columns[f"aircraft_{kind}_age"] = moment - _pick(happened, row)
    return columns | _previous_leg(window, tail, moment)


def _previous_leg(window: _Window, tail: Integers, moment: Integers) -> Columns:
    leaves_now = window.leaves[window.asked]
    row = Events(window.groups["tailnum"], window.leaves).latest(tail, leaves_now - 1, window.lookback)
    leaves, lands = _pick(window.leaves, row), _pick(window.lands, row)
    departed, arrived = _pick(window.departed, row), _pick(window.arrived, row)
    in_air, landed = departed <= moment, arrived <= moment
    known_delay = np.where(in_air, departed - leaves, np.maximum(moment - leaves, 0))
    expected = np.where(landed, arrived, lands + known_delay)
    flight_back = lands - leaves
    return {
        "turnaround_minutes": leaves_now - leaves,
        "previous_leg_status": np.where(np.isnan(leaves), np.nan, in_air.astype(float) + landed),
        "return_slack_scheduled": leaves_now - lands - flight_back,
        "return_slack_expected": leaves_now - expected - flight_back,
    }
