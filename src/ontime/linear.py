"""A logistic regression as plain arrays for `explain`, stored in a file without code (numpy's .npz)."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ontime.trees import Floats, NoArrays, Whole, pack_arrays, unpack_arrays


class NotLinear(NoArrays):
    """The bytes were not written by `Linear.to_bytes`."""


@dataclass(frozen=True)
class Linear:
    """Log-odds as a sum over features: a weight times the value, or an entry of a category's table."""

    method: ClassVar[Literal["linear_shap"]] = "linear_shap"
    scale: ClassVar[Literal["log_odds"]] = "log_odds"

    weights: Floats  # (features,), log-odds per unit; 0 for categories
    fill: Floats  # (features,), imputed for a missing value
    category_feature: Whole  # (categorical features,)
    category_log_odds: Floats  # (categorical features, codes + 1), the last one for a value not seen in training
    means: Floats  # (features,), the mean contribution over the background rows
    base_value: Floats  # (1,), the mean log-odds of the background rows

    def to_bytes(self) -> bytes:
        return pack_arrays(self)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Linear":
        """Raises NotLinear for any other bytes; executes nothing in them."""
        return unpack_arrays(cls, content, NotLinear, "linear model")

    def contributions(self, rows: NDArray[np.float32]) -> Floats:
        """Each feature's contribution to the log-odds of each row, before its mean is subtracted: [n, features]."""
        values = np.where(np.isnan(rows), self.fill, rows.astype(np.float64)) * self.weights
        unseen = self.category_log_odds.shape[1] - 1
        for feature, table in zip(self.category_feature.tolist(), self.category_log_odds, strict=True):
            codes = np.nan_to_num(rows[:, feature], nan=unseen).astype(np.int64)
            values[:, feature] = table[np.where((codes < 0) | (codes > unseen), unseen, codes)]
        return values


def of_logistic(model: Any, background: NDArray[np.float32]) -> Linear:
    """From a pipeline of one-hot encoded categories, imputed and scaled numbers, and a logistic regression."""
    prepared, regression = (step for _, step in model.steps)
    coefficients, width = regression.coef_[0].astype(np.float64), background.shape[1]
    category_feature: list[int] = []
    categories: list[NDArray[np.float64]] = []
    numbers, number_feature = prepared, range(width)
    if hasattr(prepared, "transformers_"):  # absent in a model without categories
        (_, encoded, category_feature), (_, numbers, number_feature) = prepared.transformers_
        categories = encoded.steps[-1][1].categories_
    imputer, scaler = (step for _, step in numbers.steps)
    codes = 1 + max((int(values.max()) for values in categories), default=-1)
    tables = np.zeros((len(category_feature), codes + 1))
    place = 0
    for table, values in zip(tables, categories, strict=True):
        table[values.astype(int)] = coefficients[place : place + len(values)]  # missing is -1, so the last entry
        place += len(values)
    has_values = ~np.isnan(imputer.statistics_)  # the imputer drops a column without any value
    weights, fill = np.zeros(width), np.zeros(width)
    features = np.asarray(number_feature)[has_values]
    weights[features] = coefficients[place:] / scaler.scale_
    fill[features] = imputer.statistics_[has_values]
    at_zero = float(regression.intercept_[0]) - float(coefficients[place:] @ (scaler.mean_ / scaler.scale_))
    linear = Linear(weights, fill, np.array(category_feature, np.int32), tables, np.zeros(width), np.zeros(1))
    means = linear.contributions(background).mean(axis=0)
    return replace(linear, means=means, base_value=np.array([at_zero + means.sum()]))
