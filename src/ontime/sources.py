"""The tables of a dataset: as they come, as they were known at a moment, and by month."""

from datetime import datetime

import pandas as pd

from ontime import schema
from ontime.datasets import Dataset, SourceBroken, Tables
from ontime.problem.data import DATA
from ontime.refusal import Refusal


class NotDeclared(Refusal):
    """A table that `ontime.problem.data` does not declare, so that nobody says when it is known."""


def dataset(name: str) -> Dataset:
    """Raises SourceBroken for a name that is not declared."""
    if name not in DATA.datasets:
        raise SourceBroken(f"dataset {name!r} is unknown; there are {sorted(DATA.datasets)}")
    return DATA.datasets[name]


def read(name: str, known_until: datetime | None = None) -> Tables:
    """The tables of a dataset, or what was known of them at a moment. Raises SourceBroken, NotDeclared."""
    tables = dataset(name).read(known_until)
    _refuse_without_moments(tables)
    return as_of(tables, known_until) if known_until else tables


def _refuse_without_moments(tables: Tables) -> None:
    """Raise SourceBroken for a table without the columns that say when its rows are known, or a row without a time."""
    for table in DATA.tables:
        rows = tables.get(table.name)
        if rows is None:
            raise SourceBroken(f"{table.name}: the dataset's `read` gives no such table")
        needed = [*([table.moment] if table.moment else []), *table.known.columns]
        if absent := [name for name in needed if name not in rows]:
            raise SourceBroken(f"{table.name}: the dataset's `read` gives no column {', '.join(absent)}")
        if table.moment and (timeless := rows.index[rows[table.moment].isna()]).size:
            raise SourceBroken(
                f"{table.name}.{table.moment}: {timeless.size:,} rows have no time, the first is row {timeless[0]}: "
                "`read` has to leave them out"
            )


def as_of(tables: Tables, moment: datetime) -> Tables:
    """What was known at `moment`: no row or value of any table that was known later. Raises NotDeclared."""
    declared = {table.name: table for table in DATA.tables}
    if undeclared := [name for name in tables if name not in declared]:
        raise NotDeclared(
            f"problem/data.py does not declare {', '.join(undeclared)}: add a Table, known all along (Static()), from "
            "the moment in a column on (Observed(column)), or planned and then happening (Scheduled(...))"
        )
    return {name: declared[name].known.as_of(table, moment) for name, table in tables.items()}


def cut(tables: Tables, start: datetime, end: datetime) -> Tables:
    """The rows with a moment in [start, end), and the small tables whole."""
    kept = dict(tables)
    for table in DATA.long:
        moments = tables[table.name][table.moment]
        kept[table.name] = tables[table.name][(moments >= start) & (moments < end)]
    return kept


def month_of(moments: pd.Series) -> pd.Series:
    """The partition of each UTC moment: its month on the problem's clock, as `2013-01`."""
    local = moments.dt.tz_convert(schema.ZONE)
    return (local.dt.year * 100 + local.dt.month).map(lambda number: f"{number // 100}-{number % 100:02d}")


def day_of(moments: pd.Series) -> pd.Series:
    """Midnight of each UTC moment's day on the problem's clock, without a zone."""
    return moments.dt.tz_convert(schema.ZONE).dt.tz_localize(None).dt.normalize()
