"""The online features of a flight as of its prediction moment: one implementation for training and production.

The prediction moment is the scheduled departure minus the lead. Departures, arrivals and weather observations are used
only if they were known by then; the timetable is always known. Each function below computes one family of features;
`catalogue.py` describes them.
"""

from datetime import datetime

import numpy as np
import pandas as pd

from ontime.datasets import Tables
from ontime.declaration import Question
from ontime.events import ALL_HISTORY, NEVER, Events, Integers
from ontime.params import FeatureParams
from ontime.problem.catalogue import (
    ARRIVAL_WINDOWS,
    DEPARTURE_WINDOWS,
    EN_ROUTE_WINDOWS,
    LATEST_HOURS,
    MEASURED,
    OVERDUE_GROUPS,
    RECORD_DAYS,
    TIMETABLE_MINUTES,
    TIMETABLED,
)
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

OVERDUE_SPAN_MINUTES = 3 * HOUR_MINUTES
PLANE_COLUMNS = ("built_year", "seats", "engines")


def online_features(
    tables: Tables, start: datetime, end: datetime, params: FeatureParams, question: Question
) -> Columns:
    """The online features of each flight with `start <= scheduled_departure < end`, in order.

    `tables` must begin `halo_hours` before `start`; the timetable must reach an hour past `end`. Rows outside have no
    effect, so a month built alone equals the same month built with its year.
    """
    flights = tables["flights"]
    window = window_of(flights, start, end, params, LATEST_HOURS)
    return {
        **_congestion(window),
        **_plane(window.flights[window.in_period], tables["planes"]),
        **_weather(window, tables["weather"]),
        **_operations(window, question),
        **_overdue(window),
        **_rotation(window),
        **_record(window_of(flights, start, end, params, 24 * max(RECORD_DAYS)), question),
    }


def _congestion(window: FlightWindow) -> Columns:
    columns: Columns = {}
    for group in TIMETABLED:
        timetable = Events(window.groups[group], window.scheduled_departure)
        for minutes in TIMETABLE_MINUTES:
            until = window.scheduled_departure[window.in_period] + minutes
            count, _ = timetable.within(window.codes(group), until, 2 * minutes + 1)
            columns[f"timetable_{group}_{minutes}min"] = count.astype(np.float64)
    return columns


def _plane(flights: pd.DataFrame, planes: pd.DataFrame) -> Columns:
    row = pd.Index(planes["tailnum"]).get_indexer(flights["tailnum"])
    built_year, seats, engines = (pick(planes[name].to_numpy(np.float64), row) for name in PLANE_COLUMNS)
    year = flights["scheduled_departure"].dt.year.to_numpy()
    return {"plane_age_years": year - built_year, "plane_seats": seats, "plane_engines": engines}


def _weather(window: FlightWindow, observed: pd.DataFrame) -> Columns:
    known_at = minutes_of(observed["known_at"])
    origins = _origin_codes(observed["origin"])
    codes = _origin_codes(window.flights["origin"][window.in_period])
    row = Events(origins, known_at).latest(codes, window.moment, window.lookback)
    columns = {name: pick(values, row) for name, values in _with_changes(observed, origins).items()}
    direction = pick(observed["wind_direction_degrees"].to_numpy(np.float64), row)
    return columns | {
        "weather_age_hours": (window.moment - pick(known_at, row)) / HOUR_MINUTES,
        "wind_direction_degrees": direction,
        "wind_from_east_mph": columns["wind_speed_mph"] * np.sin(np.radians(direction)),
        "wind_from_north_mph": columns["wind_speed_mph"] * np.cos(np.radians(direction)),
    }


def _origin_codes(origins: pd.Series) -> Integers:
    return pd.Categorical(origins, categories=ORIGINS).codes.astype(np.int64)


def _with_changes(weather: pd.DataFrame, origins: Integers) -> Columns:
    """Observations with their changes over three hours, matched by time, because some hours are missing."""
    hour = minutes_of(weather["hour"])
    observations = Events(origins, hour)

    def before(hours: int, values: Floats) -> Floats:
        """For each row, the value of the same origin `hours` earlier; NaN if there is none."""
        return pick(values, observations.latest(origins, hour - hours * HOUR_MINUTES, span=1))

    measured = {name: weather[name].to_numpy(np.float64) for name in MEASURED}
    temperature, pressure, rain = (measured[name] for name in ("temp_f", "pressure_mb", "precip_inches"))
    last_three = np.array([rain, before(1, rain), before(2, rain)])
    return measured | {
        "temp_change_3h_f": temperature - before(3, temperature),
        "pressure_change_3h_mb": pressure - before(3, pressure),
        "precip_3h_inches": np.where(np.isnan(last_three).all(axis=0), np.nan, np.nansum(last_three, axis=0)),
    }


def _operations(window: FlightWindow, question: Question) -> Columns:
    """Measures of the departures and arrivals known at the prediction moment."""
    columns: Columns = {}
    for kind, actual, values, windows in (
        ("departures", window.actual_departure, _of_departures(window, question), [*DEPARTURE_WINDOWS.items()]),
        ("arrivals", window.actual_arrival, _of_arrivals(window, question),
         [*ARRIVAL_WINDOWS.items(), *EN_ROUTE_WINDOWS.items()]),
    ):  # fmt: skip
        events = {group: Events(window.groups[group], actual, values) for (group, _), _ in windows}
        for (group, hours), measures in windows:
            measured = _measures(events[group], window.codes(group), window.moment, hours)
            columns |= {f"{kind}_{group}_{hours}h_{measure}": measured[measure] for measure in measures}
    return columns


def _record(window: FlightWindow, question: Question) -> Columns:
    """Measures of the arrivals of this flight number; delays less those of all flights, which the weather explains."""
    values = _of_arrivals(window, question)
    own, all_flights = (Events(window.groups[group], window.actual_arrival, values) for group in ("number", "all"))
    columns: Columns = {}
    for days in RECORD_DAYS:
        measured = _measures(own, window.codes("number"), window.moment, 24 * days)
        usual = _measures(all_flights, window.codes("all"), window.moment, 24 * days)
        columns[f"record_{days}d_count"] = measured["count"]
        columns |= {f"record_{days}d_{name}": measured[name] - usual[name] for name in ("late", "delay")}
    return columns


def _of_departures(window: FlightWindow, question: Question) -> dict[str, Integers]:
    return delay_and_late(window.actual_departure, window.scheduled_departure, question)


def _of_arrivals(window: FlightWindow, question: Question) -> dict[str, Integers]:
    values = delay_and_late(window.actual_arrival, window.scheduled_arrival, question)
    lost = values["delay"] - (window.actual_departure - window.scheduled_departure)
    return values | {"lost": np.where(window.actual_arrival < NEVER, lost, 0)}


def _measures(events: Events, groups: Integers, moment: Integers, hours: int) -> Columns:
    """The number of events in the hours before each moment, and the mean of each of their values."""
    count, sums = events.within(groups, moment, hours * HOUR_MINUTES)
    return {"count": count.astype(np.float64)} | {name: share(total, count) for name, total in sums.items()}


def _overdue(window: FlightWindow) -> Columns:
    """Flights scheduled in the last three hours: the share that has not left, and the mean wait of all.

    A flight waits from its scheduled departure until it leaves, or until OVERDUE_SPAN_MINUTES have passed, because the
    data do not say when a flight was cancelled. Waiting flights are those that began minus those that ended.
    """
    columns: Columns = {}
    begin = window.scheduled_departure
    end = np.maximum(begin, np.minimum(window.actual_departure, begin + OVERDUE_SPAN_MINUTES))
    for group in OVERDUE_GROUPS:
        all_codes, codes = window.groups[group], window.codes(group)
        begins = Events(all_codes, begin, {"begin": begin})
        ends = Events(all_codes, end, {"begin": begin})
        scheduled, _ = begins.within(codes, window.moment, OVERDUE_SPAN_MINUTES)
        begun, begun_sum = begins.within(codes, window.moment, ALL_HISTORY)
        ended, ended_sum = ends.within(codes, window.moment, ALL_HISTORY)
        wait = (begun - ended) * window.moment - (begun_sum["begin"] - ended_sum["begin"])
        columns[f"overdue_{group}_share"] = share(begun - ended, scheduled)
        columns[f"overdue_{group}_wait"] = share(wait, scheduled)
    return columns


def _rotation(window: FlightWindow) -> Columns:
    """The last known events of the aircraft, and the time between its previous leg and this flight."""
    tail, moment = window.codes("tailnum"), window.moment
    columns: Columns = {}
    for kind, actual, scheduled in (
        ("departure", window.actual_departure, window.scheduled_departure),
        ("arrival", window.actual_arrival, window.scheduled_arrival),
    ):
        row = Events(window.groups["tailnum"], actual).latest(tail, moment, window.lookback)
        columns[f"aircraft_{kind}_delay"] = pick(actual - scheduled, row)
        columns[f"aircraft_{kind}_age"] = moment - pick(actual, row)
    return columns | _previous_leg(window, tail, moment)


def _previous_leg(window: FlightWindow, tail: Integers, moment: Integers) -> Columns:
    this_departure = window.scheduled_departure[window.in_period]
    row = Events(window.groups["tailnum"], window.scheduled_departure).latest(tail, this_departure - 1, window.lookback)
    departure, arrival = pick(window.scheduled_departure, row), pick(window.scheduled_arrival, row)
    actual_departure, actual_arrival = pick(window.actual_departure, row), pick(window.actual_arrival, row)
    departed, landed = actual_departure <= moment, actual_arrival <= moment
    known_delay = np.where(departed, actual_departure - departure, np.maximum(moment - departure, 0))
    expected_arrival = np.where(landed, actual_arrival, arrival + known_delay)
    flight_back = arrival - departure
    return {
        "turnaround_minutes": this_departure - departure,
        "previous_leg_status": np.where(np.isnan(departure), np.nan, departed.astype(float) + landed),
        "return_slack_scheduled": this_departure - arrival - flight_back,
        "return_slack_expected": this_departure - expected_arrival - flight_back,
    }
