"""The tables behind the exploration report on the data, from the sums of each month."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ontime import schema
from ontime.datasets import Tables
from ontime.problem import PROBLEM
from ontime.problem.data import DATA
from ontime.sources import months_of

BINS = 10
EMPTY_SHARE = 1e-4  # share assigned to an empty bin, to avoid the logarithm of zero
REFERENCE_MONTHS = 3
ENOUGH = 100  # labelled entities of an hour of the day, to show its rate
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def with_clock(entities: pd.DataFrame, at_least: float) -> pd.DataFrame:
    """The entities with `label` (null where unknown) and month, weekday and hour in the problem's time zone."""
    local_time = entities[DATA.event_at].dt.tz_convert(schema.ZONE)
    value = entities[PROBLEM.label.column]
    return entities.assign(
        label=(value >= at_least).astype(float).where(value.notna()),
        month=months_of(entities[DATA.event_at]),
        weekday=local_time.dt.weekday,
        hour=local_time.dt.hour,
    )


def count_labels(entities: pd.DataFrame) -> pd.DataFrame:
    """The `rows`, `labelled` and `positive` of each month, weekday and hour, of entities `with_clock`.

    The counts of several months can be added, and so their shares follow from them.
    """
    labels = entities.groupby(["month", "weekday", "hour"])["label"]
    return pd.DataFrame({"rows": labels.size(), "labelled": labels.count(), "positive": labels.sum()})


def rate_by_hour_and_weekday(counts: pd.DataFrame) -> pd.DataFrame:
    """Share positive, weekdays in rows, hours with at least 100 labelled entities in columns."""
    labelled = counts.groupby("hour")["labelled"].sum()
    cells = counts[counts["labelled"] > 0].groupby(["weekday", "hour"]).sum()
    table = (cells["positive"] / cells["labelled"]).unstack("hour")
    return table[labelled[labelled >= ENOUGH].index].rename(index=dict(enumerate(WEEKDAYS)))


def count_nulls(tables: Tables) -> pd.DataFrame:
    """The `rows` and `nulls` of each `table.column`; those of several months can be added."""
    counts = [
        (f"{name}.{column}", len(table), nulls)
        for name, table in tables.items()
        for column, nulls in table.isna().sum().items()
    ]
    return pd.DataFrame(counts, columns=["column", "rows", "nulls"]).set_index("column")


def missing_shares(counts: pd.DataFrame) -> pd.Series:
    """The share of nulls of each column that has any, by the counts of nulls of one month or several."""
    sums = counts.groupby(level=0, sort=False).sum()
    return (sums["nulls"] / sums["rows"])[sums["nulls"] > 0]


def population_stability_index(reference: pd.Series, current: pd.Series) -> float:
    """The sum of (p - q) ln(p / q) over bins, p of `current` and q of `reference` (Siddiqi, Credit Risk Scorecards).

    Bins are the deciles of the reference and one of nulls for numbers, and the distinct values for text.

    >>> reference, current = pd.Series(["a"] * 9 + ["b"]), pd.Series(["a"] * 5 + ["b"] * 5)
    >>> round(population_stability_index(reference, current), 3)
    0.879
    """
    if pd.api.types.is_numeric_dtype(reference):
        edges = np.unique(reference.quantile(np.linspace(0, 1, BINS + 1)[1:-1]))
        before, after = (
            pd.Series(np.searchsorted(edges, each)).where(each.notna().to_numpy(), -1) for each in (reference, current)
        )
    else:
        before, after = reference.fillna("null"), current.fillna("null")
    shares = [each.value_counts(normalize=True) for each in (after, before)]
    bins = shares[0].index.union(shares[1].index)
    current_shares, reference_shares = (each.reindex(bins, fill_value=0).clip(lower=EMPTY_SHARE) for each in shares)
    return float(((current_shares - reference_shares) * np.log(current_shares / reference_shares)).sum())


def drift_by_month(reference: pd.DataFrame, months: Iterable[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """The stability index of each column of the reference in each month: one row a column, one column a month."""
    return pd.DataFrame(
        {
            month: {name: population_stability_index(reference[name], rows[name]) for name in reference}
            for month, rows in months
        }
    )
