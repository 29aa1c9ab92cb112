"""Where the stages' files are, and how tables are kept: one parquet file a month, `2013-01.parquet`."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from ontime import files
from ontime.sources import Tables, month_of

INGESTED = Path("data/ingested")
VALIDATED = Path("data/validated")
SET_ASIDE = Path("data/set_aside")
FEATURES = Path("data/features")
PREDICTIONS = Path("data/predictions")
SMOKE_TEST = Path("data/smoke_test.json")
MODELS = Path("models")
REPORTS = Path("reports")
PLOTS = REPORTS / "plots"
EDA = REPORTS / "eda"
COSTS = REPORTS / "costs.json"  # differs from run to run, so no stage declares it and git ignores it


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` when the block ends well, and goes otherwise."""
    aside = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_table(table: pd.DataFrame, path: Path) -> None:
    with files.replacing(path) as aside:
        table.to_parquet(aside, index=False)


def write_months(table: pd.DataFrame, months: pd.Series, folder: Path) -> None:
    """One file for each value of `months`, which names the month of each row."""
    for month, rows in table.groupby(months, sort=True):
        write_table(rows, folder / f"{month}.parquet")


def write_tables(tables: Tables, folder: Path) -> None:
    """Flights and weather by the month of New York's clock, the small tables whole."""
    write_months(tables.flights, month_of(tables.flights["scheduled_departure"]), folder / "flights")
    write_months(tables.weather, month_of(tables.weather["hour"]), folder / "weather")
    for name in ("planes", "airports", "airlines"):
        write_table(getattr(tables, name), folder / f"{name}.parquet")


def read_tables(folder: Path) -> Tables:
    small = {name: pd.read_parquet(folder / f"{name}.parquet") for name in ("planes", "airports", "airlines")}
    return Tables(flights=read_months(folder / "flights"), weather=read_months(folder / "weather"), **small)


def months_in(folder: Path) -> list[str]:
    """The months that a folder holds, in order. Raises FileNotFoundError if there are none."""
    months = sorted(path.stem for path in folder.glob("*.parquet"))
    if not months:
        raise FileNotFoundError(f"{folder} holds no months: run `make train`")
    return months


def read_months(folder: Path, months: list[str] | None = None, columns: list[str] | None = None) -> pd.DataFrame:
    """The rows of those months (of all by default) in one table."""
    chosen = months_in(folder) if months is None else months
    parts = [pd.read_parquet(folder / f"{month}.parquet", columns=columns) for month in chosen]
    return pd.concat(parts, ignore_index=True)


def write_json(path: Path, content: Any) -> None:
    files.write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
