"""Pieces of a contract that the rules of any problem are made of."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pandera.pandas as pa

from ontime import schema
from ontime.datasets import Tables

UTC = pd.DatetimeTZDtype("us", "UTC")
HANDFUL = 10  # fewer rows of a day are no pattern, whatever their share


def between(limits: tuple[float, float], name: str) -> pa.Check:
    return pa.Check.in_range(*limits, error=f"{name} between {limits[0]} and {limits[1]}")


def matches(pattern: str, name: str) -> pa.Check:
    return pa.Check.str_matches(pattern, error=name)


def one_of(values: Any, name: str) -> pa.Check:
    return pa.Check.isin(values, error=name)


def few(marked: Callable[[pd.Series], pd.Series], limit: float, name: str) -> pa.Check:
    """The marked values of a column break it only together, when they are more than `limit` of all."""

    def holds(column: pd.Series) -> pd.Series:
        wrong = marked(column)
        return ~wrong if wrong.mean() > limit else pd.Series(True, index=wrong.index)

    return pa.Check(holds, error=name)


def in_bulk(wrong: pd.Series, moments: pd.Series, limit: float) -> pd.Series:
    """The wrong rows of the days on which more than `limit` of the rows, and not just a handful, are wrong."""
    by_day = wrong.groupby(moments.dt.tz_convert(schema.ZONE).dt.date)
    return wrong & (by_day.transform("mean") > limit) & (by_day.transform("sum") >= HANDFUL)


def null(table: str, column: str) -> Callable[[Tables], pd.Series]:
    return lambda tables: tables[table][column].isna()


def without(table: str, column: str, other: str, key: str) -> Callable[[Tables], pd.Series]:
    """The rows of `table` whose `column` is not among the keys of the other table."""

    def hits(tables: Tables) -> pd.Series:
        rows, known = tables[table][column], pd.Index(tables[other][key]).unique()
        # By the index: `isin` takes each of the few thousand known values out of its column first.
        return pd.Series(known.get_indexer(rows) == -1, rows.index)

    return hits
