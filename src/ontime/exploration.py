"""What the data look like before any model: the small tables behind the exploration report."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ontime import schema
from ontime.datasets import Tables
from ontime.problem import PROBLEM
from ontime.problem.data import DATA
from ontime.sources import months_of

BINS = 10
EMPTY_SHARE = 1e-4  # what an empty bin counts as; the logarithm of zero has no use
REFERENCE_MONTHS = 3
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def with_clock(entities: pd.DataFrame, at_least: float) -> pd.DataFrame:
    """The entities with `label` (null where unknown) and month, weekday and hour on the problem's clock."""
    wall = entities[DATA.event_at].dt.tz_convert(schema.ZONE)
    value = entities[PROBLEM.label.column]
    return entities.assign(
        label=(value >= at_least).astype(float).where(value.notna()),
        month=months_of(entities[DATA.event_at]),
        weekday=wall.dt.weekday,
        hour=wall.dt.hour,
    )


def rate_by_hour_and_weekday(entities: pd.DataFrame) -> pd.DataFrame:
    """Share positive, weekdays in rows, hours with at least 100 labelled entities in columns."""
    enough = entities.groupby("hour")["label"].count() >= 100
    table = entities.pivot_table(index="weekday", columns="hour", values="label", aggfunc="mean")
    return table.loc[:, enough[enough].index].rename(index=dict(enumerate(WEEKDAYS)))


def missing_shares(tables: Tables) -> pd.Series:
    """The share of nulls of each column that has any, as `table.column`."""
    shares = pd.concat([table.isna().mean().add_prefix(f"{name}.") for name, table in tables.items()])
    return shares[shares > 0]


def population_stability_index(reference: pd.Series, current: pd.Series) -> float:
    """How far `current` is from `reference`: sum of (p - q) ln(p / q) over bins (Siddiqi, Credit Risk Scorecards).

    Numbers fall into the deciles of the reference, with nulls as a bin of their own; text is its own bin.
    """
    if pd.api.types.is_numeric_dtype(reference):
        edges = np.unique(reference.quantile(np.linspace(0, 1, BINS + 1)[1:-1]))
        before, after = (
            pd.Series(np.searchsorted(edges, each)).where(each.notna().to_numpy(), -1) for each in (reference, current)
        )
    else:
        before, after = reference.fillna("null"), current.fillna("null")
    p, q = (each.value_counts(normalize=True) for each in (after, before))
    bins = p.index.union(q.index)
    p, q = (each.reindex(bins, fill_value=0).clip(lower=EMPTY_SHARE) for each in (p, q))
    return float(((p - q) * np.log(p / q)).sum())


def drift_by_month(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The index of each column in each month against the first three; `table` has a `month`."""
    by_month = {str(month): rows for month, rows in table.groupby("month", sort=True)[[*columns]]}
    reference = pd.concat(list(by_month.values())[:REFERENCE_MONTHS])
    return pd.DataFrame(
        {
            month: {name: population_stability_index(reference[name], rows[name]) for name in columns}
            for month, rows in by_month.items()
        }
    )
