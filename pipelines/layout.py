"""Paths of the stages' files, and the format of tables: parquet files by month, `2013-01.parquet`.

A month of features may be several files, one for each partition: `2013-01-08.parquet`, `2013-01_north.parquet`.
"""

import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from ontime import files, schema
from ontime.datasets import Tables
from ontime.problem.data import DATA
from ontime.refusal import Refusal
from ontime.sources import months_of
from pipelines import storage
from pipelines.storage import Place

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
STUDY = REPORTS / "study.json"  # by `ontime study card`; `{}` if nothing has been studied
RECORD = (
    "months.json"  # of a folder of tables: which months each has. A month without rows has no file, but is not lost
)
COSTS = REPORTS / "costs.json"  # differs from run to run, so no stage declares it and git ignores it
REBUILD = "run `make train`, which builds what is missing"


class TrainingMissing(Refusal):
    """There is no training.json: nothing was trained yet, or a training is running, which replaces MODELS."""


class MonthsMissing(Refusal):
    """A folder of tables, or a month of one that was there, is not there."""


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
    write_record(folder)


def write_record(folder: Path) -> None:
    """Write months.json, the last file of a folder of tables: which months of each table have rows, and so a file.

    It tells a month without rows from a file that was lost.
    """
    months = {table.name: sorted(path.stem for path in (folder / table.name).glob("*.parquet")) for table in DATA.long}
    write_json(folder / RECORD, months)


def read_tables(folder: Place, between: tuple[datetime, datetime] | None = None, key: str | None = None) -> Tables:
    """All tables; with `between`, only rows from the first moment until the second, of the tables with a moment.

    With `key`, only rows that have it, of the tables with the column `DATA.partition_key`. A table may lack a month
    that another has: a timetable is known earlier than the weather. Raises MonthsMissing if a recorded file is lost.
    """
    recorded = months_recorded(folder)
    tables = {}
    for table in DATA.tables:
        if table.moment is None:
            parts, rows = [f"{table.name}.parquet"], []
        elif not recorded[table.name]:
            raise MonthsMissing(f"{folder}/{table.name} has no rows of any month: {REBUILD}")
        else:
            months = recorded[table.name] if between is None else overlapping(recorded[table.name], *between)
            # The first file gives the columns of a table that has no row in this period.
            parts = [f"{table.name}/{month}.parquet" for month in months or recorded[table.name][:1]]
            rows = [] if between is None else [(table.moment, ">=", between[0]), (table.moment, "<", between[1])]
        read = [_read_part(folder, part, rows, key) for part in parts]
        tables[table.name] = pd.concat(read, ignore_index=True)
    return tables


def _read_part(folder: Place, name: str, rows: list[tuple[str, str, Any]], key: str | None) -> pd.DataFrame:
    try:
        part = storage.read_parquet(folder, name, filters=rows or None)
    except FileNotFoundError:
        raise MonthsMissing(f"{folder}/{name}, which {RECORD} lists, is not there: {REBUILD}") from None
    column = DATA.partition_key
    return part if key is None or column not in part else part[part[column] == key]


def months_recorded(folder: Place) -> dict[str, list[str]]:
    """The months of each table with a moment that the stage has written. Raises MonthsMissing."""
    try:
        return json.loads(storage.read_text(folder, RECORD))
    except FileNotFoundError:
        raise MonthsMissing(f"{folder}/{RECORD} is not there: {REBUILD}") from None


def read_small(folder: Path) -> Tables:
    """The tables without a moment."""
    names = [table.name for table in DATA.tables if table.moment is None]
    return {name: pd.read_parquet(folder / f"{name}.parquet") for name in names}


def all_months(folder: Path) -> list[str]:
    """The months of any table of a folder, in order. Raises MonthsMissing."""
    return sorted({month for months in months_recorded(folder).values() for month in months})


def first_rows(folder: Path, months: Sequence[str]) -> list[dict[str, int]]:
    """For each month, the number of its first row in each table with a moment: in all months together."""
    rows = dict.fromkeys((table.name for table in DATA.long), 0)
    numbers = []
    for month in months:
        numbers.append(dict(rows))
        for name in rows:
            if (path := folder / name / f"{month}.parquet").is_file():
                rows[name] += pq.read_metadata(path).num_rows
    return numbers


def read_around(folder: Path, period: tuple[datetime, datetime], halo: timedelta, numbers: Mapping[str, int]) -> Tables:
    """All tables; of those with a moment the rows of a period and of the `halo` before and after it.

    The index is the number of a row in all months together, given that of the period's first row.
    """
    start, end = period
    tables = read_tables(folder, (start - halo, end + halo))
    for table in DATA.long:
        rows = tables[table.name]
        before = int((rows[table.moment] < start).sum())
        rows.index = pd.RangeIndex(len(rows)) + numbers[table.name] - before
    return tables


def overlapping(months: Collection[str], since: datetime, until: datetime) -> list[str]:
    """Those of the months that [since, until) overlaps, in order."""
    first, last = (moment.astimezone(schema.ZONE).strftime("%Y-%m") for moment in (since, until))
    return sorted(month for month in months if first <= month <= last)


def months_in(folder: Path) -> list[str]:
    """The months that a folder holds, in order. Raises MonthsMissing if there are none."""
    months = sorted({path.stem[:7] for path in folder.glob("*.parquet")})
    if not months:
        raise MonthsMissing(f"{folder} has no monthly files: {REBUILD}")
    return months


def month_files(folder: Path, months: Collection[str]) -> list[Path]:
    """The files of those months, in order. Raises MonthsMissing if the folder has none at all."""
    return [path for month in months_in(folder) if month in months for path in sorted(folder.glob(f"{month}*.parquet"))]


def read_months(folder: Path, months: Collection[str] | None = None, columns: list[str] | None = None) -> pd.DataFrame:
    """The rows of those months (by default, of all) in one table; a month without rows has no file.

    Raises MonthsMissing if the folder has no monthly file.
    """
    available = months_in(folder)
    paths = month_files(folder, available if months is None else months)
    if not paths:
        return pd.read_parquet(month_files(folder, available)[0], columns=columns).iloc[:0]
    return pd.concat([pd.read_parquet(path, columns=columns) for path in paths], ignore_index=True)


def read_batches(
    folder: Path, months: Collection[str], rows: int, columns: list[str] | None = None
) -> Iterator[pd.DataFrame]:
    """The rows of those months in tables of at most `rows`, so that a month need not fit into memory."""
    for path in month_files(folder, months):
        for batch in pq.ParquetFile(path).iter_batches(rows, columns=columns):
            yield batch.to_pandas()


def write_json(path: Path, content: Any) -> None:
    files.write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_training() -> Any:
    """The results of the stage `train`. Raises TrainingMissing."""
    path = MODELS / "training.json"
    try:
        return read_json(path)
    except FileNotFoundError:
        raise TrainingMissing(
            f"{path} is not there: {REBUILD}. If it is running, wait for its end: it replaces {MODELS}/"
        ) from None
