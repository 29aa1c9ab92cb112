"""The tables of a dataset: raw, as of a moment, and by month."""

from datetime import datetime

import pandas as pd

from ontime import schema
from ontime.datasets import Dataset, SourceBroken, Tables
from ontime.problem.data import DATA
from ontime.refusal import Refusal


class NotDeclared(Refusal):
    """A table is not declared in `ontime.problem.data`, so its availability is unknown."""


def dataset(name: str) -> Dataset:
    """A declared dataset. Raises SourceBroken for an unknown name."""
    if name not in DATA.datasets:
        raise SourceBroken(f"dataset {name!r} is unknown; there are {sorted(DATA.datasets)}")
    return DATA.datasets[name]


def read(name: str, known_until: datetime | None = None) -> Tables:
    """The tables of a dataset, or what was known of them by `known_until`. Raises SourceBroken, NotDeclared."""
    tables = dataset(name).read(known_until)
    _refuse_without_moments(tables)
    return as_of(tables, known_until) if known_until else tables


def _refuse_without_moments(tables: Tables) -> None:
    """Raise SourceBroken if a table lacks a column of its availability, or a row lacks its time."""
    for table in DATA.tables:
        rows = tables.get(table.name)
        if rows is None:
            raise SourceBroken(f"{table.name}: the dataset's `read` does not return this table")
        needed = [*([table.moment] if table.moment else []), *table.availability.columns]
        if absent := [name for name in needed if name not in rows]:
            raise SourceBroken(f"{table.name}: the dataset's `read` does not return the column {', '.join(absent)}")
        if table.moment and (timeless := rows.index[rows[table.moment].isna()]).size:
            raise SourceBroken(
                f"{table.name}.{table.moment}: {timeless.size:,} rows have no time, the first is row {timeless[0]}: "
                "`read` must leave them out"
            )


def as_of(tables: Tables, moment: datetime) -> Tables:
    """The tables without any row or value that was known only after `moment`. Raises NotDeclared."""
    declared = {table.name: table for table in DATA.tables}
    if undeclared := [name for name in tables if name not in declared]:
        raise NotDeclared(
            f"problem/data.py does not declare {', '.join(undeclared)}: add a Table whose availability is Static() "
            "(always known), Observed(column) (from the time in a column on) or Scheduled(...) (planned, then observed)"
        )
    return {name: declared[name].availability.as_of(table, moment) for name, table in tables.items()}


def cut(tables: Tables, start: datetime, end: datetime) -> Tables:
    """The rows with a moment in [start, end); small tables are returned whole."""
    selected = dict(tables)
    for table in DATA.long:
        moments = tables[table.name][table.moment]
        selected[table.name] = tables[table.name][(moments >= start) & (moments < end)]
    return selected


def months_of(moments: pd.Series) -> pd.Series:
    """The month of each UTC time in the problem's time zone, such as `2013-01`: its partition."""
    local = moments.dt.tz_convert(schema.ZONE)
    # Each month is formatted once, and not each row: a year has 300,000.
    codes, numbers = pd.factorize(local.dt.year * 100 + local.dt.month, use_na_sentinel=False)
    texts = pd.array([f"{number // 100}-{number % 100:02d}" for number in numbers], dtype="str")
    return pd.Series(texts.take(codes), moments.index)


def days_of(moments: pd.Series) -> pd.Series:
    """The day of each UTC time in the problem's time zone: midnight, without a zone."""
    return moments.dt.tz_convert(schema.ZONE).dt.tz_localize(None).dt.normalize()
