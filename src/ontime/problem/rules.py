"""The contract of the tables of flights: known dirt by name, and what is left must hold.

Ranges and patterns come from request.py; this file adds what only a table can say: keys, references between
tables, the order of times, that our UTC agrees with the clocks on the airports' walls, and what no single row
shows: a gust that is computed from the wind, airlines that nobody has accepted.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pandera.pandas as pa

from ontime.checks import UTC, between, few, in_bulk, null, without
from ontime.datasets import Holds, Rule, Tables
from ontime.problem.request import (
    AIRPORT_PATTERN,
    CARRIER_PATTERN,
    CLOCK,
    DISTANCE_MILES,
    ELAPSED_MINUTES,
    FLIGHT_NUMBER,
    ORIGINS,
)
from ontime.problem.sources import TERRITORY_AIRPORTS, TERRITORY_ZONE, minutes_of_day

# The airlines of the year that the contract was made on. Others are accepted by name, in sources.NEW_CARRIERS.
CARRIERS = ("9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV")
DEPARTURE_DELAY_MINUTES = (-120, 2880)  # 2023 has delays of up to 30 hours, which the clocks confirm
ARRIVAL_DELAY_MINUTES = (-180, 2880)
GUST_COPIES_LIMIT = 0.5  # share of gusts that may be wind_speed x 1.15; in 2013 none is, in 2023 each
UNSEEN_CARRIERS_LIMIT = 0.05  # share of flights; a new airline or two are no reason to stop, a new timetable is
KNOTS_TO_MPH = 1.15078
DAY = 1440
CLOCKS_OFF_AT_MOST = 0.01  # of a day's arrivals; in 2023 three delays span a change of the clocks
HUMIDITY_OFF_PERCENT, HUMIDITY_OFF_AT_MOST = 5, 0.25  # of a day's observations; no day of 2013 comes near it
NO_TIME_TO_FLY_AT_MOST = 0.1  # of a day's flights; a storm in the west brings 2013's worst day below it
FLOWN = ("departed_at", "arrived_at", "dep_delay_minutes", "arr_delay_minutes", "air_minutes", "dep_hhmm", "arr_hhmm")


def _impossible_rotation(tables: Tables) -> pd.Series:
    """Departures of an aircraft before it could have flown its previous leg twice (there and back)."""
    flown = tables["flights"].dropna(subset=["departed_at", "tailnum"]).sort_values(["tailnum", "departed_at"])
    previous = flown.groupby("tailnum")[["departed_at", "air_minutes"]].shift()
    gap = (flown["departed_at"] - previous["departed_at"]).dt.total_seconds() / 60
    return (gap < 2 * previous["air_minutes"]).reindex(tables["flights"].index, fill_value=False)


def _far_from_the_other_airports(tables: Tables) -> pd.Series:
    """The three airports lie within 20 miles; one that is 25 F off the median of all is a broken sensor."""
    weather = tables["weather"]
    return (weather["temp_f"] - weather.groupby("hour")["temp_f"].transform("median")).abs() > 25


def _off_across_a_clock_change(tables: Tables) -> pd.Series:
    """Departures whose delay spans a clock change and counts the hour on the wall instead of the hours waited."""
    flights = tables["flights"]
    changed = _ahead_of_utc(flights["scheduled_departure"]) != _ahead_of_utc(flights["departed_at"])
    # Where the timetable disagrees with the clock as well, it is the time zone that is wrong.
    timely = _agrees(flights["scheduled_departure"], flights["sched_dep_hhmm"], CLOCK)
    return changed & timely & ~_agrees(flights["departed_at"], flights["dep_hhmm"], CLOCK)


def _ahead_of_utc(moments: pd.Series) -> pd.Series:
    """How far New York's clock is ahead."""
    return moments.dt.tz_convert(CLOCK).dt.tz_localize(None) - moments.dt.tz_localize(None)


def _arrives_before_it_leaves(tables: Tables) -> pd.Series:
    """A timetable with an arrival in the hour before the departure: no flight is so short, nor a zone so far."""
    flights = tables["flights"]
    ahead = minutes_of_day(flights["sched_dep_hhmm"]) - minutes_of_day(flights["sched_arr_hhmm"])
    return ahead.between(0, 60, inclusive="left")


def _with_territories(tables: Tables, hits: pd.Series) -> Tables:
    missing = sorted(set(tables["flights"].loc[hits, "dest"]) & set(TERRITORY_AIRPORTS))
    added = pd.DataFrame({"airport": missing, "name": [TERRITORY_AIRPORTS[code] for code in missing]})
    airports = pd.concat([tables["airports"], added.assign(zone=TERRITORY_ZONE)], ignore_index=True)
    return {**tables, "airports": airports}


def _elapsed_minutes(flights: pd.DataFrame) -> pd.Series:
    return (flights["scheduled_arrival"] - flights["scheduled_departure"]).dt.total_seconds() / 60


KNOWN_DIRT: tuple[Rule, ...] = (
    Rule("cancelled", "flights", "departed_at", "noted",
         "never left: no label, but part of the timetable and seen as overdue",
         lambda t: t["flights"]["departed_at"].isna()),
    Rule("departed_without_arrival_delay", "flights", "arr_delay_minutes", "noted",
         "diverted or not reported: no label, but its departure is known",
         lambda t: t["flights"]["departed_at"].notna() & t["flights"]["arr_delay_minutes"].isna()),
    Rule("landed_without_arrival_delay", "flights", "arr_hhmm", "noted",
         "those of them that have an arrival time all the same",
         lambda t: t["flights"]["arr_hhmm"].notna() & t["flights"]["arr_delay_minutes"].isna()),
    Rule("no_tail_number", "flights", "tailnum", "noted",
         "all cancelled: a perfect leak if cancellation were in the label", null("flights", "tailnum")),
    Rule("no_plane_record", "flights", "tailnum", "noted",
         "its plane features stay empty", without("flights", "tailnum", "planes", "tailnum")),
    Rule("departure_at_2400", "flights", "dep_hhmm", "noted",
         "read as the midnight that ends the day", lambda t: t["flights"]["dep_hhmm"] == 2400),
    Rule("arrival_at_2400", "flights", "arr_hhmm", "noted",
         "read as the midnight that ends the day", lambda t: t["flights"]["arr_hhmm"] == 2400),
    Rule("arrives_after_midnight", "flights", "sched_arr_hhmm", "noted",
         "its arrival is put on the next day",
         lambda t: t["flights"]["sched_arr_hhmm"] < t["flights"]["sched_dep_hhmm"]),
    Rule("elapsed_below_air_time", "flights", "air_minutes", "noted",
         "slack that was used up: legitimate", lambda t: _elapsed_minutes(t["flights"]) < t["flights"]["air_minutes"]),
    Rule("impossible_rotation", "flights", "tailnum", "noted",
         "the aircraft cannot have been back: its tail number is wrong, which nobody knew in time",
         _impossible_rotation),
    Rule("off_across_a_clock_change", "flights", "departed_at", "repaired",
         "emptied: its delay is a difference of wall clocks that changed meanwhile. Its row stays, as part of the "
         "timetable: it was that before anybody could know",
         _off_across_a_clock_change, emptied=FLOWN),
    Rule("arrives_before_it_leaves", "flights", "sched_arr_hhmm", "set aside",
         "its timetable is wrong, so nobody knows whether it was late", _arrives_before_it_leaves),
    Rule("a_day_late", "flights", "arr_delay_minutes", "noted",
         "a day or more: rare and true, its arrival time agrees",
         lambda t: t["flights"]["arr_delay_minutes"] >= DAY),
    Rule("unseen_carrier", "flights", "carrier", "noted",
         "no airline of 2013: a model of that year predicts it as one that it does not know",
         lambda t: ~t["flights"]["carrier"].isin(CARRIERS)),
    Rule("destination_without_airport", "flights", "dest", "repaired",
         "Puerto Rico and the Virgin Islands are added to airports, with their time zone",
         without("flights", "dest", "airports", "airport"), repair=_with_territories),
    Rule("wind_of_a_thousand_mph", "weather", "wind_speed_mph", "repaired",
         "emptied: the strongest surface wind ever measured is 253 mph",
         lambda t: t["weather"]["wind_speed_mph"] > 253, emptied=("wind_speed_mph", "wind_gust_mph")),
    Rule("temperature_off_its_neighbours", "weather", "temp_f", "repaired",
         "emptied, with the dew point of the same reading: 25 F or more off the median of the three airports",
         _far_from_the_other_airports, emptied=("temp_f", "dewp_f")),
    Rule("repeated_observation", "weather", "hour", "set aside",
         "a second row of an airport and UTC hour; the first is kept",
         lambda t: t["weather"].duplicated(["origin", "hour"])),
    Rule("doubled_local_hour", "weather", "local_hour", "noted",
         "the autumn change repeats an hour of the wall clock; joined on UTC, nothing doubles",
         lambda t: t["weather"].duplicated(["origin", "local_hour"], keep=False)),
    Rule("no_gust", "weather", "wind_gust_mph", "noted", "no gust was reported", null("weather", "wind_gust_mph")),
    Rule("no_pressure", "weather", "pressure_mb", "noted", "left empty", null("weather", "pressure_mb")),
    Rule("no_build_year", "planes", "built_year", "noted", "left empty", null("planes", "built_year")),
)  # fmt: skip


def weather_hours_missing(tables: Tables) -> dict[str, int]:
    """For each airport, the hours without an observation, of all days on which flights were scheduled."""
    days = tables["flights"]["scheduled_departure"].dt.tz_convert(CLOCK).dt.normalize()
    hours = pd.date_range(days.min(), days.max() + pd.Timedelta(days=1), freq="h", inclusive="left")
    seen = tables["weather"][tables["weather"]["hour"].isin(hours)].groupby("origin")["hour"].nunique()
    return {origin: len(hours) - int(seen.get(origin, 0)) for origin in ORIGINS}


def known_carriers(airlines: pd.DataFrame) -> set[str]:
    """The airlines of 2013, and those that a dataset's adapter marks as accepted by a person.

    That an airline is listed by its own year's table says nothing: the table changes with the flights.
    """
    known = set(CARRIERS)
    return known | set(airlines["carrier"][airlines["accepted"]]) if "accepted" in airlines else known


def flights_contract(tables: Tables) -> pa.DataFrameSchema:
    """What the flights must be, given the tables that they refer to."""
    carriers = tables["airlines"]["carrier"].tolist()
    airports = tables["airports"]["airport"].tolist()
    hhmm = between((0, 2400), "HHMM")
    return pa.DataFrameSchema(
        {
            "entity_id": pa.Column(str, unique=True),
            "carrier": pa.Column(str, [pa.Check.str_matches(CARRIER_PATTERN, error="airline code"),
                                       pa.Check.isin(carriers, error="is in airlines"),
                                       few(lambda c: ~c.isin(known_carriers(tables["airlines"])), UNSEEN_CARRIERS_LIMIT,
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


def _agrees(moments: pd.Series, hhmm: pd.Series, zone: str) -> pd.Series:
    """Whether the wall clock of `zone` shows `hhmm`, which writes midnight as 0 or as 2400."""
    wall = moments.dt.tz_convert(zone)
    return moments.isna() | (wall.dt.hour * 100 + wall.dt.minute == hhmm % 2400)


def _computed_from_wind(gust: pd.Series, wind: pd.Series) -> pd.Series:
    """Gusts that are wind_speed converted from knots once more. A measured one is whole knots: 23 over 20 is not it."""
    speed = wind.loc[gust.index]
    return (speed > 0) & ((gust / speed - KNOTS_TO_MPH).abs() < 1e-4)


def _arrivals_agree(flights: pd.DataFrame) -> pd.Series:
    """Whether the delay leads from the scheduled to the actual arrival, told by one clock: its sign and its unit."""
    scheduled, actual = minutes_of_day(flights["sched_arr_hhmm"]), minutes_of_day(flights["arr_hhmm"])
    off = (actual - scheduled - flights["arr_delay_minutes"]) % DAY
    return ~in_bulk(off.fillna(0) != 0, flights["scheduled_departure"], CLOCKS_OFF_AT_MOST)


def _humidity_agrees(weather: pd.DataFrame) -> pd.Series:
    """Whether temperature and dew point make the humidity (August-Roche-Magnus): they do in Fahrenheit only."""

    def vapour(fahrenheit: pd.Series) -> pd.Series:
        celsius = (fahrenheit - 32) / 1.8
        return 17.625 * celsius / (243.04 + celsius)

    humidity = 100 * np.exp(vapour(weather["dewp_f"]) - vapour(weather["temp_f"]))
    off = (humidity - weather["humid_percent"]).abs() > HUMIDITY_OFF_PERCENT
    return ~in_bulk(off, weather["hour"], HUMIDITY_OFF_AT_MOST)


def weather_contract(tables: Tables) -> pa.DataFrameSchema:
    weather = tables["weather"]
    limits = {
        "temp_f": (-30, 120), "dewp_f": (-40, 90), "humid_percent": (0, 100), "wind_direction_degrees": (0, 360),
        "wind_speed_mph": (0, 253), "wind_gust_mph": (0, 253), "precip_inches": (0, 12),
        "pressure_mb": (900, 1100), "visib_miles": (0, 10),
    }  # fmt: skip
    measured = {
        name: pa.Column(float, between(limit, name.rsplit("_", 1)[1]), nullable=True) for name, limit in limits.items()
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


# What each row must be as a whole.
FLIGHTS_RULES: Mapping[str, Holds] = {
    "sorted by scheduled_departure":
        lambda t: t["scheduled_departure"].diff().fillna(pd.Timedelta(0)) >= pd.Timedelta(0),
    "scheduled elapsed minutes possible": lambda t: _elapsed_minutes(t).between(*ELAPSED_MINUTES),
    "lands after it left": lambda t: ~(t["arrived_at"] <= t["departed_at"]),
    "no arrival without a departure": lambda t: t["arrived_at"].isna() | t["departed_at"].notna(),
    "scheduled_departure agrees with the clock in New York":
        lambda t: _agrees(t["scheduled_departure"], t["sched_dep_hhmm"], CLOCK),
    "departed_at agrees with the clock in New York":
        lambda t: _agrees(t["departed_at"], t["dep_hhmm"], CLOCK),
    "arr_delay_minutes agrees with the clock at the destination": _arrivals_agree,
    "the timetable leaves time to fly":
        lambda t: ~in_bulk(_elapsed_minutes(t) < t["air_minutes"], t["scheduled_departure"],
                            NO_TIME_TO_FLY_AT_MOST),
}  # fmt: skip
WEATHER_RULES: Mapping[str, Holds] = {
    "known an hour after its label": lambda t: t["known_at"] - t["hour"] == pd.Timedelta(hours=1),
    "hour agrees with the clock in New York":
        lambda t: t["hour"].dt.tz_convert(CLOCK).dt.tz_localize(None) == t["local_hour"],
    "humid_percent agrees with temp_f and dewp_f": _humidity_agrees,
}  # fmt: skip
