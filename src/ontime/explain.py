"""Why this probability: exact Shapley values of a tree ensemble, in numpy, from a file without code.

The "path-dependent" values of Lundberg et al., "Consistent Individualized Feature Attribution for Tree
Ensembles" (2018), the same that LightGBM's `pred_contrib` gives. A leaf counts for feature j

    value * (o_j - z_j) * integral over t in 0..1 of the product over k != j of (o_k t + z_k (1 - t))

where o is 1 if the flight meets the conditions on k along the leaf's path, and z is the share of training
flights that do. The integrand is a polynomial, so Gauss-Legendre quadrature of enough points is exact.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ontime.trees import Flags, Floats, Trees


class Explanation(NamedTuple):
    """`usual` and all of `contributions` add up to the log-odds of the answer."""

    usual: float
    contributions: Floats  # (features,), log-odds

    @property
    def log_odds(self) -> float:
        return float(self.usual + self.contributions.sum())


def explain(trees: Trees, row: NDArray[np.float32]) -> Explanation:
    """What each feature adds to the log-odds of this one row of the model's input, shape (features,)."""
    met = np.logical_and.reduceat(
        _goes_left(trees, row)[trees.condition_node] == trees.condition_left, trees.slot_first_condition
    ).astype(np.float64)
    share = trees.slot_share
    longest = int(np.bincount(trees.slot_leaf).max())
    points, weights = np.polynomial.legendre.leggauss((longest + 1) // 2)
    at, weights = (points + 1) / 2, weights / 2  # from -1..1 to 0..1
    factors = met[:, None] * at + share[:, None] * (1 - at)
    products = np.multiply.reduceat(factors, trees.leaf_first_slot)
    others = (products[trees.slot_leaf] / factors) @ weights
    added = trees.leaf_value[trees.slot_leaf] * (met - share) * others
    return Explanation(float(trees.usual[0]), np.bincount(trees.slot_feature, added, len(row)).astype(np.float64))


def _goes_left(trees: Trees, row: NDArray[np.float32]) -> Flags:
    """For each node whether this row goes left there."""
    values = row.astype(np.float64)[trees.node_feature]
    left = values <= trees.node_threshold
    categorical = np.flatnonzero(trees.node_categories >= 0)
    codes = np.nan_to_num(values[categorical], nan=-1).astype(np.int64)
    known = (codes >= 0) & (codes < trees.categories.shape[1])
    left[categorical] = trees.categories[trees.node_categories[categorical], np.where(known, codes, 0)] & known
    return np.where(np.isnan(values), trees.node_missing_left, left)
