"""Ideas for features of a flight that no model uses: `make study-features` measures what each is worth.

An idea that proves worth it moves to features.py and catalogue.py. All of them are as of the prediction moment, like
the features.
"""

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import pandas as pd

from ontime.datasets import Tables
from ontime.declaration import Question
from ontime.events import ALL_HISTORY, Events, Integers
from ontime.ideas import Idea
from ontime.params import FeatureParams
from ontime.problem.catalogue import LATEST_HOURS
from ontime.problem.request import ORIGINS
from ontime.problem.window import (
    HOUR_MINUTES,
    Columns,
    FlightWindow,
    Floats,
    delay_and_late,
    minutes_of,
    pick,
    share,
    window_of,
)

NEW_YORK = "America/New_York"
RATE_HOURS = 28 * 24
PRIOR_FLIGHTS = 50  # a rate is shrunk towards New York's with the weight of this many flights
QUEUE_MINUTES = 3 * HOUR_MINUTES  # a flight that has not left by then was cancelled; the data do not say when
DAY_BEGINS = pd.Timedelta(hours=4)  # on the clock of New York, where hardly a flight leaves at that hour


def rates(tables: Tables, start: datetime, end: datetime, params: FeatureParams, question: Question) -> Columns:
    """The share of late arrivals of the last 28 days, less New York's."""
    window = window_of(tables["flights"], start, end, params, RATE_HOURS)
    late = delay_and_late(window.actual_arrival, window.scheduled_arrival, question)["late"]

    def within(group: str) -> tuple[Integers, Integers]:
        events = Events(window.groups[group], window.actual_arrival, {"late": late})
        count, sums = events.within(window.codes(group), window.moment, RATE_HOURS * HOUR_MINUTES)
        return count, sums["late"]

    new_york = np.nan_to_num(share(*reversed(within("all"))))
    columns: Columns = {}
    for group in ("route", "carrier", "dest", "origin_carrier"):
        count, late_count = within(group)
        columns[group] = (late_count - count * new_york) / (count + PRIOR_FLIGHTS)
    return columns


def queue(tables: Tables, start: datetime, end: datetime, params: FeatureParams, _: Question) -> Columns:
    """The flights that are to leave the airport before this one and have not: their number, and the hours they need."""
    window = window_of(tables["flights"], start, end, params, LATEST_HOURS)
    scheduled, actual = window.scheduled_departure, window.actual_departure
    # Scheduled until this departure, so from the lead before its own departure on a flight is in the queue.
    enters = scheduled - params.lead_minutes
    leaves = np.maximum(enters, np.minimum(actual, scheduled + QUEUE_MINUTES))
    columns: Columns = {}
    for group in ("origin", "origin_carrier"):
        all_codes, codes = window.groups[group], window.codes(group)
        entered, left = (Events(all_codes, at).within(codes, window.moment, ALL_HISTORY)[0] for at in (enters, leaves))
        departed, _sums = Events(all_codes, actual).within(codes, window.moment, HOUR_MINUTES)
        columns[f"{group}_flights"] = (entered - left).astype(np.float64)
        columns[f"{group}_hours"] = (entered - left) / np.maximum(departed, 1)
    return columns


def destination(tables: Tables, start: datetime, end: datetime, params: FeatureParams, question: Question) -> Columns:
    """Late share and mean delay of the departures to this destination in the last hours."""
    window = window_of(tables["flights"], start, end, params, LATEST_HOURS)
    values = delay_and_late(window.actual_departure, window.scheduled_departure, question)
    events = Events(window.groups["dest"], window.actual_departure, values)
    columns: Columns = {}
    for hours in (3, 6):
        count, sums = events.within(window.codes("dest"), window.moment, hours * HOUR_MINUTES)
        columns |= {f"{name}_{hours}h": share(total, count) for name, total in sums.items()}
    return columns


def two_legs(tables: Tables, start: datetime, end: datetime, params: FeatureParams, _: Question) -> Columns:
    """The facts of the aircraft's previous leg, of the leg before that one."""
    window = window_of(tables["flights"], start, end, params, LATEST_HOURS)
    tail = window.codes("tailnum")
    legs = Events(window.groups["tailnum"], window.scheduled_departure)

    def leg_before(departure: Floats | Integers) -> Integers:
        until = np.nan_to_num(departure, nan=0).astype(np.int64) - 1
        return legs.latest(tail, until, window.lookback)

    last_departure = pick(window.scheduled_departure, leg_before(window.scheduled_departure[window.in_period]))
    return _facts_of(window, leg_before(last_departure), last_departure)


def _facts_of(window: FlightWindow, row: Integers, next_departure: Floats) -> Columns:
    """The facts of these legs, each before the aircraft's next departure out of New York."""
    departure, arrival = pick(window.scheduled_departure, row), pick(window.scheduled_arrival, row)
    actual_departure, actual_arrival = pick(window.actual_departure, row), pick(window.actual_arrival, row)
    departed, landed = actual_departure <= window.moment, actual_arrival <= window.moment
    known_delay = np.where(departed, actual_departure - departure, np.maximum(window.moment - departure, 0))
    expected_arrival = np.where(landed, actual_arrival, arrival + known_delay)
    flight_back = arrival - departure
    return {
        "turnaround_minutes": next_departure - departure,
        "status": np.where(np.isnan(departure), np.nan, departed.astype(float) + landed),
        "return_slack_scheduled": next_departure - arrival - flight_back,
        "return_slack_expected": next_departure - expected_arrival - flight_back,
    }


def since_four(tables: Tables, start: datetime, end: datetime, params: FeatureParams, question: Question) -> Columns:
    """Number, late share and mean delay of the departures since four in the morning."""
    window = window_of(tables["flights"], start, end, params, LATEST_HOURS)
    values = delay_and_late(window.actual_departure, window.scheduled_departure, question)
    four = _four_in_the_morning(window.moment)
    columns: Columns = {}
    for group in ("carrier", "origin"):
        codes, events = window.codes(group), Events(window.groups[group], window.actual_departure, values)
        (now, now_sums), (then, then_sums) = (
            events.within(codes, until, ALL_HISTORY) for until in (window.moment, four)
        )
        columns[f"{group}_count"] = (now - then).astype(np.float64)
        columns |= {f"{group}_{name}": share(now_sums[name] - then_sums[name], now - then) for name in values}
    return columns


def _four_in_the_morning(moment: Integers) -> Integers:
    """The last 04:00 in New York at or before each moment."""
    clock = pd.DatetimeIndex(moment.astype("datetime64[m]"), tz="UTC").tz_convert(NEW_YORK).tz_localize(None)
    four = ((clock - DAY_BEGINS).floor("D") + DAY_BEGINS).tz_localize(NEW_YORK).tz_convert("UTC").tz_localize(None)
    return four.to_numpy("datetime64[m]").astype(np.int64)


def airports(tables: Tables, start: datetime, end: datetime, params: FeatureParams, _: Question) -> Columns:
    """Rain and visibility last observed at each of the three airports."""
    window, observed = window_of(tables["flights"], start, end, params, LATEST_HOURS), tables["weather"]
    origins = pd.Categorical(observed["origin"], categories=ORIGINS).codes.astype(np.int64)
    observations = Events(origins, minutes_of(observed["known_at"]))
    columns: Columns = {}
    for code, origin in enumerate(ORIGINS):
        row = observations.latest(np.full(len(window.moment), code), window.moment, window.lookback)
        for name in ("precip_inches", "visib_miles"):
            columns[f"{origin}_{name}"] = pick(observed[name].to_numpy(np.float64), row)
    return columns


IDEAS: Mapping[str, Idea] = {
    "rates": Idea("late arrivals in 28 days of route, airline, destination, and airline at the airport", rates),
    "airports": Idea("rain and visibility at all three airports", airports),
    "queue": Idea("flights to leave before this one that have not", queue),
    "destination": Idea("departures to the destination in the last 3 and 6 hours", destination),
    "two_legs": Idea("the aircraft's leg before the previous one", two_legs),
    "since_four": Idea("departures of airline and airport since four in the morning", since_four),
}
