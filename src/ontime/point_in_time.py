"""Point in time: no feature of a row may depend on what was known only after the row's prediction moment.

The rule is tried, not trusted. For a sample of moments the rows are built once more from tables in which everything
known later is removed (`sources.as_of`), over the same window. Whatever code makes the features, a row whose moment
had come by then must be the same.
"""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from ontime import schema, sources
from ontime.datasets import KEY, Tables
from ontime.refusal import Refusal

PARTS = 2  # of a window, with one moment in each
CHANGE_PARTS = 6  # of the entities around a change of the clocks: rare hours, in which mistakes are common
AROUND_CHANGE = pd.Timedelta(hours=12)


class FutureLeak(Refusal):
    """A feature changes when what was known only later is removed. Names feature, row, moment and both values."""


def draw_moments(moments: pd.Series, seed: int) -> list[pd.Timestamp]:
    """The moments to try, out of the prediction moments of a window's rows: the same ones for the same seed.

    Busy hours are drawn more often. Pass the moments of rows with an outcome: only they have a future to remove.
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
    """The hours, in UTC, at which the offset of `schema.ZONE` changes among these moments or close to them."""
    if moments.empty:
        return []
    begin, end = moments.min().floor("h") - AROUND_CHANGE, moments.max() + AROUND_CHANGE
    hours = pd.date_range(begin, end, freq="h", tz="UTC")
    offset = hours.tz_convert(schema.ZONE).tz_localize(None) - hours.tz_localize(None)
    return list(hours[1:][offset[1:] != offset[:-1]])


def refuse_future(
    tables: Tables, rows: pd.DataFrame, build: Callable[[Tables], pd.DataFrame], moments: Iterable[pd.Timestamp]
) -> int:
    """Raise FutureLeak if `rows`, which are `build(tables)`, know the future; how many rows were compared.

    At each of `moments` all rows are compared whose own moment had come. A short look ahead shows in those just
    before it, a mean over the whole window in all of them.
    """
    compared = 0
    for moment in moments:
        rebuilt = _build_as_of(tables, build, moment)
        expected, found = (each[each["moment"] <= moment].reset_index(drop=True) for each in (rows, rebuilt))
        if not expected.equals(found):  # the quick answer, which also minds order and types
            _refuse_difference(expected.set_index(KEY), found.set_index(KEY), moment)
        compared += len(expected)
    return compared


def _build_as_of(tables: Tables, build: Callable[[Tables], pd.DataFrame], moment: pd.Timestamp) -> pd.DataFrame:
    try:
        return build(sources.as_of(tables, moment.to_pydatetime()))
    except Exception as error:
        error.add_note(
            f"point in time: the features cannot be built from what was known at {moment:%Y-%m-%d %H:%MZ}, as "
            "production does; what was not known yet is null then"
        )
        raise


def _refuse_difference(expected: pd.DataFrame, found: pd.DataFrame, moment: pd.Timestamp) -> None:
    missing = expected.index.difference(found.index)
    if len(missing):
        raise FutureLeak(
            f"{len(missing)} rows, such as {missing[0]}, are not known at {moment:%Y-%m-%d %H:%MZ}, although their "
            "prediction moment had come: features.lead_minutes is longer than problem/data.py says rows are known ahead"
        )
    rebuilt = found.loc[expected.index]
    differing = {str(name): wrong for name in expected if (wrong := _differs(expected[name], rebuilt[name])).any()}
    if not differing:
        return
    name, wrong = next(iter(differing.items()))
    key = expected[wrong].sort_values("moment").index[-1]
    also = f", as do {', '.join([*differing][1:4])}" if len(differing) > 1 else ""
    raise FutureLeak(
        f"{name} of {key} is {expected.loc[key, name]}, but {rebuilt.loc[key, name]} without what became known after "
        f"{moment:%Y-%m-%d %H:%MZ}; its prediction moment is {expected.loc[key, 'moment']:%Y-%m-%d %H:%MZ}. "
        f"{wrong.sum():,} of {len(expected):,} rows differ{also}. Look at what {name} is made of: something in it is "
        "known only later; problem/data.py says when each column is known"
    )


def _differs(left: pd.Series, right: pd.Series) -> pd.Series:
    return ~((left == right) | (left.isna() & right.isna()))
