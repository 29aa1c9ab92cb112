"""Synthetic flights: every feature drawn at random, for tests that only compare tables."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from ontime import schema


def flights(rows: int, seed: int, complete: Collection[str] = schema.FEATURE_NAMES) -> pd.DataFrame:
    """Features, `probability` and a `label` that follows it; a numeric feature that is not in `complete` is missing."""
    drawn = np.random.default_rng(seed)
    numbers = [name for name in schema.FEATURE_NAMES if name not in schema.CATEGORICAL]
    features = {name: drawn.choice(["AA", "BB", "CC", "DD"], rows) for name in schema.CATEGORICAL}
    table = pd.DataFrame(features | {name: drawn.normal(50, 10, rows) for name in numbers})
    table["weekday"] = drawn.integers(0, 7, rows).astype(float)
    probability = drawn.beta(2, 6, rows)
    late = pd.array(drawn.random(rows) < probability, dtype="boolean")
    table = table.loc[:, list(schema.FEATURE_NAMES)].assign(probability=probability, label=late)
    return table.assign(**{name: np.nan for name in numbers if name not in complete})


def with_outcomes(flights: pd.DataFrame, labels: Sequence[bool]) -> pd.DataFrame:
    """The first flights have these `labels`; the others have none."""
    unknown = [pd.NA] * (len(flights) - len(labels))
    return flights.assign(label=pd.array([*labels, *unknown], dtype="boolean"))
