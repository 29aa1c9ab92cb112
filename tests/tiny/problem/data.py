"""Eight months of synthetic appointments, from a fixed seed."""

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pandera.pandas as pa

from ontime.availability import Scheduled
from ontime.checks import UTC
from ontime.datasets import Data, Dataset, Table, Tables
from ontime.problem import ZONE

DAYS, PER_DAY = 240, 60


def read(_: datetime | None) -> Tables:
    generator = np.random.default_rng(1)
    count = DAYS * PER_DAY
    day = np.repeat(np.arange(DAYS), PER_DAY)
    minute = generator.integers(9 * 60, 17 * 60, count)
    at = pd.Timestamp("2020-01-01", tz=ZONE) + pd.to_timedelta(24 * 60 * day + minute, unit="min")
    ahead, north = generator.integers(0, 40, count) / 1.0, generator.random(count) < 0.5
    odds = -2 + 0.06 * ahead + 0.8 * north + 0.5 * generator.normal(size=DAYS)[day]
    table = pd.DataFrame(
        {
            "at": pd.Series(at).dt.tz_convert("UTC").dt.as_unit("us"),
            "clinic": np.where(north, "north", "south"),
            "days_ahead": ahead,
            "missed": (generator.random(count) < 1 / (1 + np.exp(-odds))).astype(float),
        }
    ).sort_values("at", ignore_index=True)
    closed = table["at"].dt.tz_convert(ZONE).dt.normalize() + pd.Timedelta(hours=18)
    numbers = pd.Series(np.arange(1, count + 1))
    keys = {"entity_id": "A" + numbers.astype("str"), "number": numbers}
    return {"appointments": table.assign(**keys, closed_at=closed.dt.tz_convert("UTC").dt.as_unit("us"))}


CONTRACT = pa.DataFrameSchema(
    {
        "entity_id": pa.Column(str, unique=True), "number": pa.Column(int),
        "at": pa.Column(UTC), "closed_at": pa.Column(UTC),
        "clinic": pa.Column(str), "days_ahead": pa.Column(float), "missed": pa.Column(float, nullable=True),
    },
    strict=True, name="appointments",
)  # fmt: skip
DATA = Data(
    datasets={"tiny": Dataset(read, date(2020, 1, 1), date(2020, 8, 27))},
    entities="appointments",
    tables=(
        Table(
            "appointments",
            moment="at",
            availability=Scheduled(
                at="at", ahead=timedelta(days=60),
                planned=("entity_id", "number", "at", "closed_at", "clinic", "days_ahead"),
                events={}, end="closed_at", due="at", final_after=timedelta(days=1),
            ),
            contract=lambda _: CONTRACT,
        ),
    ),
)  # fmt: skip
