"""The tables of a dataset: raw, as of a moment, and by month."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import pandas as pd

from ontime import schema
from ontime.counts import counted
from ontime.datasets import Dataset, SourceBroken, Table, Tables
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
    parts = list(read_parts(name, known_until))
    if len(parts) == 1:
        return parts[0]
    pieces = {table.name: [part[table.name] for part in parts if table.name in part] for table in DATA.tables}
    return {table.name: join_pieces(pieces[table.name], table) for table in DATA.tables}


def read_parts(name: str, known_until: datetime | None = None) -> Iterator[Tables]:
    """The tables of a dataset in the parts in which its `read` returns them: one part, unless it is a generator.

    Rows that come in several parts are sorted by their moment within each. Raises SourceBroken and NotDeclared, for a
    table that no part has after the last part.
    """
    tables = dataset(name).read(known_until)
    if isinstance(tables, Mapping):
        yield from _known_parts([tables], known_until)
        return
    for part in _known_parts(tables, known_until):
        yield {table.name: join_pieces([part[table.name]], table) for table in DATA.tables if table.name in part}


def _known_parts(parts: Iterable[Tables], known_until: datetime | None) -> Iterator[Tables]:
    columns: dict[str, list[str]] = {}  # of each table, by the first part that has it
    for part in parts:
        for table in DATA.tables:
            if table.name in part:
                _refuse_wrong_rows(table, part[table.name], columns)
        yield as_of(part, known_until) if known_until else part
    if absent := [table.name for table in DATA.tables if table.name not in columns]:
        raise SourceBroken(f"{absent[0]}: the dataset's `read` does not return this table")


def join_pieces(pieces: Sequence[pd.DataFrame], table: Table) -> pd.DataFrame:
    """The rows of all pieces, by their moment; rows with the same moment stay in the order in which they come."""
    rows = pd.concat(pieces, ignore_index=True)
    return rows.sort_values(table.moment, kind="stable", ignore_index=True) if table.moment else rows


def _refuse_wrong_rows(table: Table, rows: pd.DataFrame, columns: dict[str, list[str]]) -> None:
    """Raise SourceBroken if a column of the availability is missing, a row has no time, or a part is unlike others."""
    needed = [*([table.moment] if table.moment else []), *table.availability.columns]
    if absent := [name for name in needed if name not in rows]:
        raise SourceBroken(f"{table.name}: the dataset's `read` does not return the column {', '.join(absent)}")
    if table.moment and (timeless := rows.index[rows[table.moment].isna()]).size:
        count = counted(timeless.size, "row has", "rows have")
        raise SourceBroken(
            f"{table.name}.{table.moment}: {count} no time, the first is row {timeless[0]}: "
            "`read` must leave out such rows"
        )
    if table.moment is None and table.name in columns:
        raise SourceBroken(f"{table.name}: `read` yields this table twice: yield a table without a moment once, whole")
    if different := set(columns.setdefault(table.name, [*rows])) ^ {*rows}:
        raise SourceBroken(
            f"{table.name}.{min(different)}: only some of the parts that `read` yields have this column: "
            "yield the same columns in each"
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
