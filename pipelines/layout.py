"""Paths of the stages' files, and the format of tables: one parquet file a month, `2013-01.parquet`."""

import json
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from ontime import files, schema
from ontime.datasets import Tables
from ontime.problem.data import DATA
from ontime.sources import months_of

INGESTED = Path("data/ingested")
VALIDATED = Path("data/validated")
QUARANTINED = Path("data/quarantined")
FEATURES = Path("data/features")
PREDICTIONS = Path("data/predictions")
SMOKE_TEST = Path("data/smoke_test.json")
MODELS = Path("models")
TRAINED_ON = "trained_on.bin"  # in MODELS: `split.row_keys` of the entities that the candidates were fitted on
REPORTS = Path("reports")
PLOTS = REPORTS / "plots"
EDA = REPORTS / "eda"
STUDY = REPORTS / "study.json"  # by `ontime study`; `{}` if nothing has been studied
COSTS = REPORTS / "costs.json"  # differs from run to run, so no stage declares it and git ignores it


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` when the block succeeds, and is deleted when it raises."""
    temporary = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_table(table: pd.DataFrame, path: Path) -> None:
    with files.replacing(path) as temporary:
        table.to_parquet(temporary, index=False)


def write_months(table: pd.DataFrame, months: pd.Series, folder: Path) -> None:
    """Write one file for each value of `months`, which has the month of each row."""
    for month, rows in table.groupby(months, sort=True):
        write_table(rows, folder / f"{month}.parquet")


def write_tables(tables: Tables, folder: Path) -> None:
    """Write tables with a moment as one file a month, in the problem's time zone, and static tables as one file."""
    for table in DATA.tables:
        rows = tables[table.name]
        if table.moment is None:
            write_table(rows, folder / f"{table.name}.parquet")
        else:
            write_months(rows, months_of(rows[table.moment]), folder / table.name)


def read_tables(folder: Path, between: tuple[datetime, datetime] | None = None) -> Tables:
    """All tables; with `between`, only rows from the first moment until the second, of the tables with a moment.

    A table may lack a month that another has: a timetable is known earlier than the weather.
    """
    tables = {}
    for table in DATA.tables:
        if table.moment is None:
            tables[table.name] = pd.read_parquet(folder / f"{table.name}.parquet")
        elif between is None:
            tables[table.name] = read_months(folder / table.name)
        else:
            since, until = between
            months = months_between(folder / table.name, since, until)
            rows = [(table.moment, ">=", since), (table.moment, "<", until)]
            tables[table.name] = read_months(folder / table.name, months, filters=rows)
    return tables


def months_between(folder: Path, since: datetime, until: datetime) -> list[str]:
    """The months of a folder that [since, until) overlaps. Raises FileNotFoundError if the folder has none at all."""
    first, last = (moment.astimezone(schema.ZONE).strftime("%Y-%m") for moment in (since, until))
    return [month for month in months_in(folder) if first <= month <= last]


def months_in(folder: Path) -> list[str]:
    """The months that a folder holds, in order. Raises FileNotFoundError if there are none."""
    months = sorted(path.stem for path in folder.glob("*.parquet"))
    if not months:
        raise FileNotFoundError(f"{folder} has no monthly files: run `make train`")
    return months


def read_months(
    folder: Path,
    months: Collection[str] | None = None,
    columns: list[str] | None = None,
    filters: list[tuple[str, str, Any]] | None = None,
) -> pd.DataFrame:
    """The rows of those months (by default, of all) in one table; a month without rows has no file.

    `filters` as in `pandas.read_parquet`: conditions that the rows must fulfil. Raises FileNotFoundError if the folder
    has no monthly file.
    """
    available = months_in(folder)
    chosen = available if months is None else [month for month in available if month in months]
    if not chosen:
        return pd.read_parquet(folder / f"{available[0]}.parquet", columns=columns).iloc[:0]
    parts = [pd.read_parquet(folder / f"{month}.parquet", columns=columns, filters=filters) for month in chosen]
    return pd.concat(parts, ignore_index=True)


def read_batches(
    folder: Path, months: Collection[str], rows: int, columns: list[str] | None = None
) -> Iterator[pd.DataFrame]:
    """The rows of those months in tables of at most `rows`, so that a month need not fit into memory."""
    for month in months_in(folder):
        if month in months:
            for batch in pq.ParquetFile(folder / f"{month}.parquet").iter_batches(rows, columns=columns):
                yield batch.to_pandas()


def write_json(path: Path, content: Any) -> None:
    files.write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
