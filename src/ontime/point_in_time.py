"""Point-in-time check: no feature may depend on data that were known only after the prediction moment.

For a sample of moments, the rows are built again from tables without all data known later (`sources.as_of`). Rows
whose prediction moment is not later must be the same, whatever code computes the features.
"""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from ontime import schema, sources
from ontime.counts import counted
from ontime.datasets import KEY, Tables
from ontime.refusal import Refusal

PARTS = 2  # of a window; one moment is drawn from each
CHANGE_PARTS = 6  # of the entities around a clock change: rare hours with frequent mistakes
AROUND_CHANGE = pd.Timedelta(hours=12)


class FutureLeak(Refusal):
    """A feature changes if later data are removed. The message names feature, row, moment and both values."""


def draw_moments(moments: pd.Series, seed: int) -> list[pd.Timestamp]:
    """A sample of the prediction moments of a window's rows, reproducible with `seed`.

    Busy hours are drawn more often. Pass the moments of rows with an outcome: only those have later data.
    """
    generator = np.random.default_rng(seed)
    spread = [moments, *(moments[(moments - change).abs() <= AROUND_CHANGE] for change in clock_changes(moments))]
    drawn = {
        generator.choice(part)
        for rows, parts in zip(spread, [PARTS] + [CHANGE_PARTS] * len(spread), strict=False)
        for part in np.array_split(np.sort(rows.to_numpy("datetime64[us]")), parts)
        if len(part)
    }
    return [pd.Timestamp(moment, tz="UTC") for moment in sorted(drawn)]


def clock_changes(moments: pd.Series) -> list[pd.Timestamp]:
    """The hours, in UTC, at which the offset of `schema.ZONE` changes during or close to these moments."""
    if moments.empty:
        return []
    begin, end = moments.min().floor("h") - AROUND_CHANGE, moments.max() + AROUND_CHANGE
    hours = pd.date_range(begin, end, freq="h", tz="UTC")
    offset = hours.tz_convert(schema.ZONE).tz_localize(None) - hours.tz_localize(None)
    return list(hours[1:][offset[1:] != offset[:-1]])


def refuse_future(
    tables: Tables, rows: pd.DataFrame, build: Callable[[Tables], pd.DataFrame], moments: Iterable[pd.Timestamp]
) -> int:
    """Raise FutureLeak if `rows`, the result of `build(tables)`, use later data. Returns the number of rows compared.

    At each of `moments`, all rows with an earlier or equal prediction moment are compared. A short look ahead changes
    the rows just before it; a mean over the whole window changes all of them.
    """
    compared = 0
    for moment in moments:
        rebuilt = _build_as_of(tables, build, moment)
        expected, actual = (each[each["moment"] <= moment].reset_index(drop=True) for each in (rows, rebuilt))
        if not expected.equals(actual):  # fast, and also compares order and types
            _refuse_difference(expected.set_index(KEY), actual.set_index(KEY), moment)
        compared += len(expected)
    return compared


def _build_as_of(tables: Tables, build: Callable[[Tables], pd.DataFrame], moment: pd.Timestamp) -> pd.DataFrame:
    try:
        return build(sources.as_of(tables, moment.to_pydatetime()))
    except Exception as error:
        error.add_note(
            f"point in time: the features cannot be built from the data known at {moment:%Y-%m-%d %H:%MZ}, as "
            "production builds them; values that are not known yet are null"
        )
        raise


def _refuse_difference(expected: pd.DataFrame, actual: pd.DataFrame, moment: pd.Timestamp) -> None:
    missing = expected.index.difference(actual.index)
    if len(missing):
        rows = counted(len(missing), "row is", "rows are")
        raise FutureLeak(
            f"{rows} not known at {moment:%Y-%m-%d %H:%MZ}, such as {missing[0]}, although the prediction moment is "
            "earlier: `ahead` in problem/data.py must be longer than features.lead_minutes"
        )
    rebuilt = actual.loc[expected.index]
    differing = {str(name): wrong for name in expected if (wrong := _differs(expected[name], rebuilt[name])).any()}
    if not differing:
        return
    name, wrong = next(iter(differing.items()))
    key = expected[wrong].sort_values("moment").index[-1]
    also = f", as do {', '.join([*differing][1:4])}" if len(differing) > 1 else ""
    raise FutureLeak(
        f"{name} of {key} is {expected.loc[key, name]}, but {rebuilt.loc[key, name]} without data known after "
        f"{moment:%Y-%m-%d %H:%MZ}; its prediction moment is {expected.loc[key, 'moment']:%Y-%m-%d %H:%MZ}. "
        f"{wrong.sum():,} of {len(expected):,} rows differ{also}. Check the inputs of {name}: one of them is known "
        "only later; problem/data.py declares when each column is known"
    )


def _differs(left: pd.Series, right: pd.Series) -> pd.Series:
    return ~((left == right) | (left.isna() & right.isna()))
