"""Features that know too much: refused before a model is fitted on them."""

import numpy as np
import pandas as pd

from ontime import schema

EXPLAINED_AT_MOST = 0.9  # honest features explain about a third of the delay's variance
SAMPLE_ROWS = 50_000


class LeakFound(ValueError):
    """A feature, or several together, tell the label. Names them."""


def refuse(features: pd.DataFrame, outcomes: pd.DataFrame) -> None:
    """Raise LeakFound if features equal, or add up to, any column of `outcomes` (the label, the delay).

    Least squares: what a sum of features can say of the outcome. Rows in the same order, without nulls in
    `outcomes`. Missing features count as their mean.
    """
    numeric = [name for name in schema.FEATURE_NAMES if name not in schema.CATEGORICAL]
    step = max(1, len(features) // SAMPLE_ROWS)
    sample = features[numeric].iloc[::step]
    spread = sample.std().replace(0, np.nan)
    scaled = ((sample - sample.mean()) / spread).fillna(0).to_numpy(np.float64)
    for name in outcomes:
        values = outcomes[name].iloc[::step].to_numpy(np.float64)
        centred = values - values.mean()
        weights = np.linalg.lstsq(scaled, centred, rcond=None)[0]
        explained = 1 - np.var(centred - scaled @ weights) / np.var(centred)
        if explained > EXPLAINED_AT_MOST:
            culprits = [numeric[i] for i in np.argsort(-np.abs(weights))[:3]]
            raise LeakFound(f"features explain {explained:.1%} of {name}; look at {', '.join(culprits)}")
