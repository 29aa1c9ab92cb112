"""Explains a probability: exact Shapley values in numpy, from a file without code.

Of trees: the "path-dependent" values of Lundberg et al., "Consistent Individualized Feature Attribution for Tree
Ensembles" (2018), the same as from LightGBM's and XGBoost's `pred_contrib`. A leaf contributes to feature j

    value * (o_j - z_j) * integral over t in 0..1 of the product over k != j of (o_k t + z_k (1 - t))

where o is 1 if the entity meets the conditions on k along the leaf's path, and z is the share of training
entities that do. The integrand is a polynomial, so Gauss-Legendre quadrature of enough points is exact.

Of a linear model: a feature's contribution to the log-odds minus its mean contribution, which is the Shapley value for
independent features (Strumbelj and Kononenko, 2014).
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ontime.linear import Linear
from ontime.trees import Flags, Floats, Scale, Trees

Explainer = Trees | Linear

ABOUT = {
    "tree_shap": "exact Shapley values of its trees (path-dependent TreeSHAP, Lundberg et al. 2018)",
    "linear_shap": "exact Shapley values of a linear model, against the mean of the reference entities",
}
UNIT = {"log_odds": "log-odds", "probability": "probability, because the trees' probabilities are averaged"}


class Method(BaseModel):
    """How the reasons of a model are computed, as stated in its manifest, its card and by the service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["tree_shap", "linear_shap", "none"]
    scale: Scale | None  # of the base value and the contributions
    about: str


def method_of(explainer: Explainer | str) -> Method:
    """The method of this explainer, or of a string that gives the reason why there is none."""
    if isinstance(explainer, str):
        return Method(method="none", scale=None, about=explainer)
    about = f"{ABOUT[explainer.method]}, in {UNIT[explainer.scale]}"
    return Method(method=explainer.method, scale=explainer.scale, about=about)


class Explanation(NamedTuple):
    """`base_value` and all `contributions` add up to `total`, the prediction on this scale."""

    base_value: float
    contributions: Floats  # (features,)
    scale: Scale

    @property
    def total(self) -> float:
        return float(self.base_value + self.contributions.sum())

    @property
    def probability(self) -> float:
        return float(1 / (1 + np.exp(-self.total))) if self.scale == "log_odds" else self.total


def explain(explainer: Explainer, row: NDArray[np.float32]) -> Explanation:
    """The contribution of each feature for one row of the model's input, shape (features,)."""
    contributions = _linear(explainer, row) if isinstance(explainer, Linear) else _trees(explainer, row)
    return Explanation(float(explainer.base_value[0]), contributions, explainer.scale)


def _linear(linear: Linear, row: NDArray[np.float32]) -> Floats:
    return linear.contributions(row[None])[0] - linear.means


def _trees(trees: Trees, row: NDArray[np.float32]) -> Floats:
    if len(trees.slot_leaf) == 0:  # no tree has a split
        return np.zeros(len(row))
    met = np.logical_and.reduceat(
        _goes_left(trees, row)[trees.condition_node] == trees.condition_left, trees.slot_first_condition
    ).astype(np.float64)
    share = trees.slot_share
    longest = int(np.bincount(trees.slot_leaf).max())
    points, weights = np.polynomial.legendre.leggauss((longest + 1) // 2)
    points, weights = (points + 1) / 2, weights / 2  # from -1..1 to 0..1
    factors = met[:, None] * points + share[:, None] * (1 - points)
    products = np.multiply.reduceat(factors, trees.leaf_first_slot)
    others = (products[trees.slot_leaf] / factors) @ weights
    contributions = trees.leaf_value[trees.slot_leaf] * (met - share) * others
    return np.bincount(trees.slot_feature, contributions, len(row)).astype(np.float64)


def _goes_left(trees: Trees, row: NDArray[np.float32]) -> Flags:
    """For each node, whether this row goes left."""
    values = row.astype(np.float64)[trees.node_feature]
    left = values <= trees.node_threshold
    categorical = np.flatnonzero(trees.node_categories >= 0)
    codes = np.nan_to_num(values[categorical], nan=-1).astype(np.int64)
    in_table = (codes >= 0) & (codes < trees.categories.shape[1])
    left[categorical] = trees.categories[trees.node_categories[categorical], np.where(in_table, codes, 0)] & in_table
    return np.where(np.isnan(values), trees.node_missing_left, left)
