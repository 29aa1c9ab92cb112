"""Building blocks for the contracts of tables."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pandera.pandas as pa

from ontime import schema
from ontime.datasets import Tables

UTC = pd.DatetimeTZDtype("us", "UTC")
AT_MOST = "at_most"  # of a pandera check: the share of values that may fail it
MIN_ROWS = 10  # fewer rows of a day are not a pattern, whatever their share


def between(limits: tuple[float, float], name: str) -> pa.Check:
    return pa.Check.in_range(*limits, error=f"{name} between {limits[0]} and {limits[1]}")


def matches(pattern: str, name: str) -> pa.Check:
    return pa.Check.str_matches(pattern, error=name)


def one_of(values: Any, name: str) -> pa.Check:
    return pa.Check.isin(values, error=name)


def few(marked: Callable[[pd.Series], pd.Series], limit: float, name: str) -> pa.Check:
    """A check that fails if more than the share `limit` of a table's values is marked; then each marked value fails.

    The contract applies the limit, because the share is that of all months together.
    """
    return pa.Check(lambda column: ~marked(column), error=name, statistics={AT_MOST: limit})


def in_bulk(wrong: pd.Series, moments: pd.Series, limit: float) -> pd.Series:
    """Marks wrong rows of days on which more than the share `limit`, and at least MIN_ROWS, of the rows are wrong."""
    by_day = wrong.groupby(moments.dt.tz_convert(schema.ZONE).dt.date)
    return wrong & (by_day.transform("mean") > limit) & (by_day.transform("sum") >= MIN_ROWS)


def null(table: str, column: str) -> Callable[[Tables], pd.Series]:
    """Marks the rows of `table` without a value in `column`."""
    return lambda tables: tables[table][column].isna()


def without(table: str, column: str, other: str, key: str) -> Callable[[Tables], pd.Series]:
    """Marks the rows of `table` whose `column` has no match in the column `key` of the table `other`."""

    def hits(tables: Tables) -> pd.Series:
        rows, keys = tables[table][column], pd.Index(tables[other][key]).unique()
        # By index, because `isin` first copies the thousands of keys out of their column.
        return pd.Series(keys.get_indexer(rows) == -1, rows.index)

    return hits
