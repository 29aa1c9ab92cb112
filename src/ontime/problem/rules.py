"""The contracts of the tables of flights, checked after known_errors.py is applied.

Ranges and patterns come from request.py. This file adds the rules that need a table: keys, references between tables,
the order of times, agreement of UTC times with local clocks, and patterns over many rows, such as gusts that are
computed from the wind, or airlines that are not accepted.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pandera.pandas as pa

from ontime.checks import UTC, between, few, in_bulk
from ontime.datasets import Holds, Tables
from ontime.problem.request import (
    AIRPORT_PATTERN,
    CARRIER_PATTERN,
    CLOCK,
    DISTANCE_MILES,
    ELAPSED_MINUTES,
    FLIGHT_NUMBER,
    ORIGINS,
)
from ontime.problem.sources import minutes_of_day

# The airlines of 2013, the year that the contract was written for. sources.NEW_CARRIERS accepts others by name.
CARRIERS = ("9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV")
DEPARTURE_DELAY_MINUTES = (-120, 2880)  # 2023 has delays of up to 30 hours, confirmed by the clock times
ARRIVAL_DELAY_MINUTES = (-180, 2880)
GUST_COPIES_LIMIT = 0.5  # share of gusts that may equal wind_speed x 1.15; none in 2013, all in 2023
UNSEEN_CARRIERS_LIMIT = 0.05  # share of flights; one or two new airlines are accepted, a new timetable is not
KNOTS_TO_MPH = 1.15078
DAY_MINUTES = 1440
CLOCKS_OFF_AT_MOST = 0.01  # share of a day's arrivals; in 2023, three delays span a clock change
HUMIDITY_OFF_PERCENT, HUMIDITY_OFF_AT_MOST = 5, 0.25  # share of a day's observations; far above every day of 2013
NO_TIME_TO_FLY_AT_MOST = 0.1  # share of a day's flights; above 2013's worst day, a storm in the west
WEATHER_LIMITS = {
    "temp_f": (-30, 120), "dewp_f": (-40, 90), "humid_percent": (0, 100), "wind_direction_degrees": (0, 360),
    "wind_speed_mph": (0, 253), "wind_gust_mph": (0, 253), "precip_inches": (0, 12),
    "pressure_mb": (900, 1100), "visib_miles": (0, 10),
}  # fmt: skip


def elapsed_minutes(flights: pd.DataFrame) -> pd.Series:
    return (flights["scheduled_arrival"] - flights["scheduled_departure"]).dt.total_seconds() / 60


def weather_hours_missing(tables: Tables) -> dict[str, int]:
    """For each airport, the number of hours without an observation, between a month's first and last day of flights."""
    if tables["flights"].empty:
        return dict.fromkeys(ORIGINS, 0)
    days = tables["flights"]["scheduled_departure"].dt.tz_convert(CLOCK).dt.normalize()
    hours = pd.date_range(days.min(), days.max() + pd.Timedelta(days=1), freq="h", inclusive="left")
    observed = tables["weather"][tables["weather"]["hour"].isin(hours)].groupby("origin")["hour"].nunique()
    return {origin: len(hours) - int(observed.get(origin, 0)) for origin in ORIGINS}


def accepted_carriers(airlines: pd.DataFrame) -> set[str]:
    """The airlines of 2013, and those that a dataset's adapter marks as accepted.

    The airlines table of the same year is not enough: it changes with the flights.
    """
    carriers = set(CARRIERS)
    return carriers | set(airlines["carrier"][airlines["accepted"]]) if "accepted" in airlines else carriers


def flights_contract(tables: Tables) -> pa.DataFrameSchema:
    """The contract of flights, given the tables that they refer to."""
    carriers = tables["airlines"]["carrier"].tolist()
    accepted = accepted_carriers(tables["airlines"])
    airports = tables["airports"]["airport"].tolist()
    hhmm = between((0, 2400), "HHMM")
    return pa.DataFrameSchema(
        {
            "entity_id": pa.Column(str, unique=True),
            "carrier": pa.Column(str, [pa.Check.str_matches(CARRIER_PATTERN, error="airline code"),
                                       pa.Check.isin(carriers, error="is in airlines"),
                                       few(lambda codes: ~codes.isin(accepted), UNSEEN_CARRIERS_LIMIT,
                                            "is an airline of 2013 or accepted since")]),
            "flight_number": pa.Column(int, between(FLIGHT_NUMBER, "flight number")),
            "tailnum": pa.Column(str, pa.Check.str_matches(r"^[A-Z0-9]{3,7}$", error="tail number"), nullable=True),
            "origin": pa.Column(str, pa.Check.isin(ORIGINS, error="is a New York airport")),
            "dest": pa.Column(str, [pa.Check.str_matches(AIRPORT_PATTERN, error="airport code"),
                                    pa.Check.isin(airports, error="is in airports")]),
            "distance_miles": pa.Column(int, between(DISTANCE_MILES, "miles")),
            "scheduled_departure": pa.Column(UTC),
            "scheduled_arrival": pa.Column(UTC),
            "departed_at": pa.Column(UTC, nullable=True),
            "arrived_at": pa.Column(UTC, nullable=True),
            "dep_delay_minutes": pa.Column(float, between(DEPARTURE_DELAY_MINUTES, "minutes"), nullable=True),
            "arr_delay_minutes": pa.Column(float, between(ARRIVAL_DELAY_MINUTES, "minutes"), nullable=True),
            "air_minutes": pa.Column(float, between((1, 1200), "minutes"), nullable=True),
            "sched_dep_hhmm": pa.Column(int, hhmm),
            "sched_arr_hhmm": pa.Column(int, hhmm),
            "dep_hhmm": pa.Column(float, hhmm, nullable=True),
            "arr_hhmm": pa.Column(float, hhmm, nullable=True),
        },
        strict=True, name="flights",
    )  # fmt: skip


def agrees(moments: pd.Series, hhmm: pd.Series, zone: str) -> pd.Series:
    """Whether the clock of `zone` shows `hhmm`, in which midnight is 0 or 2400."""
    wall = moments.dt.tz_convert(zone)
    return moments.isna() | (wall.dt.hour * 100 + wall.dt.minute == hhmm % 2400)


def _computed_from_wind(gust: pd.Series, wind: pd.Series) -> pd.Series:
    """Marks gusts equal to wind_speed x KNOTS_TO_MPH. Measured gusts are whole knots, never exactly that ratio."""
    speed = wind.loc[gust.index]
    return (speed > 0) & ((gust / speed - KNOTS_TO_MPH).abs() < 1e-4)


def _arrivals_agree(flights: pd.DataFrame) -> pd.Series:
    """Whether scheduled arrival plus delay is the actual arrival, in local time: checks the delay's sign and unit."""
    scheduled, actual = minutes_of_day(flights["sched_arr_hhmm"]), minutes_of_day(flights["arr_hhmm"])
    off = (actual - scheduled - flights["arr_delay_minutes"]) % DAY_MINUTES
    return ~in_bulk(off.fillna(0) != 0, flights["scheduled_departure"], CLOCKS_OFF_AT_MOST)


def _humidity_agrees(weather: pd.DataFrame) -> pd.Series:
    """Whether temperature and dew point, in Fahrenheit, give the humidity (August-Roche-Magnus formula)."""

    def vapour(fahrenheit: pd.Series) -> pd.Series:
        celsius = (fahrenheit - 32) / 1.8
        return 17.625 * celsius / (243.04 + celsius)

    humidity = 100 * np.exp(vapour(weather["dewp_f"]) - vapour(weather["temp_f"]))
    off = (humidity - weather["humid_percent"]).abs() > HUMIDITY_OFF_PERCENT
    return ~in_bulk(off, weather["hour"], HUMIDITY_OFF_AT_MOST)


def weather_contract(tables: Tables) -> pa.DataFrameSchema:
    weather = tables["weather"]
    measured = {
        name: pa.Column(float, between(limit, name.rsplit("_", 1)[1]), nullable=True)
        for name, limit in WEATHER_LIMITS.items()
    }
    measured["wind_gust_mph"].checks.append(
        few(lambda gust: _computed_from_wind(gust, weather["wind_speed_mph"]), GUST_COPIES_LIMIT,
             "is measured, not wind_speed_mph x 1.15 (knots converted twice)")
    )  # fmt: skip
    return pa.DataFrameSchema(
        {
            "origin": pa.Column(str, pa.Check.isin(ORIGINS, error="is a New York airport")),
            "hour": pa.Column(UTC),
            "known_at": pa.Column(UTC),
            "local_hour": pa.Column("datetime64[us]"),
            **measured,
        },
        unique=["origin", "hour"], strict=True, name="weather",
    )  # fmt: skip


PLANES = pa.DataFrameSchema(
    {
        "tailnum": pa.Column(str, unique=True),
        "built_year": pa.Column(float, between((1930, 2030), "year"), nullable=True),
        "type": pa.Column(str),
        "manufacturer": pa.Column(str),
        "model": pa.Column(str),
        "engines": pa.Column(int, between((1, 4), "engines")),
        "seats": pa.Column(int, between((1, 600), "seats")),
        "engine": pa.Column(str),
    },
    strict=True, name="planes",
)  # fmt: skip
AIRPORTS = pa.DataFrameSchema(
    {
        "airport": pa.Column(str, unique=True),
        "name": pa.Column(str),
        "lat": pa.Column(float, between((-90, 90), "degrees"), nullable=True),
        "lon": pa.Column(float, between((-180, 180), "degrees"), nullable=True),
        "zone": pa.Column(str, nullable=True),
    },
    strict=True, name="airports",
)  # fmt: skip
AIRLINES = pa.DataFrameSchema(
    {
        "carrier": pa.Column(str, unique=True),
        "name": pa.Column(str),
        "accepted": pa.Column(bool, required=False),
    },
    strict=True, name="airlines",
)  # fmt: skip


# Rules on whole rows.
FLIGHTS_RULES: Mapping[str, Holds] = {
    "sorted by scheduled_departure":
        lambda t: t["scheduled_departure"].diff().fillna(pd.Timedelta(0)) >= pd.Timedelta(0),
    "scheduled elapsed minutes possible": lambda t: elapsed_minutes(t).between(*ELAPSED_MINUTES),
    "lands after it left": lambda t: ~(t["arrived_at"] <= t["departed_at"]),
    "no arrival without a departure": lambda t: t["arrived_at"].isna() | t["departed_at"].notna(),
    "scheduled_departure agrees with the clock in New York":
        lambda t: agrees(t["scheduled_departure"], t["sched_dep_hhmm"], CLOCK),
    "departed_at agrees with the clock in New York":
        lambda t: agrees(t["departed_at"], t["dep_hhmm"], CLOCK),
    "arr_delay_minutes agrees with the clock at the destination": _arrivals_agree,
    "the timetable leaves time to fly":
        lambda t: ~in_bulk(elapsed_minutes(t) < t["air_minutes"], t["scheduled_departure"],
                            NO_TIME_TO_FLY_AT_MOST),
}  # fmt: skip
WEATHER_RULES: Mapping[str, Holds] = {
    "known an hour after its label": lambda t: t["known_at"] - t["hour"] == pd.Timedelta(hours=1),
    "hour agrees with the clock in New York":
        lambda t: t["hour"].dt.tz_convert(CLOCK).dt.tz_localize(None) == t["local_hour"],
    "humid_percent agrees with temp_f and dewp_f": _humidity_agrees,
}  # fmt: skip
