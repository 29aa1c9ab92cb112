"""Fitting and asking the candidates of candidates.py, all on the same numbers: `encoding.encode`'s float32 matrix.

Columns are in the order of schema.FEATURE_NAMES; a category is its code, NaN where unseen.
Same seed, same model, whatever the number of threads.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from threadpoolctl import threadpool_limits

from ontime import schema
from ontime.candidates import CANDIDATES
from ontime.declaration import ProblemBroken
from ontime.encoding import encode
from ontime.params import Train
from ontime.problem import PROBLEM

Matrix = NDArray[np.float32]
Labels = NDArray[np.bool_]
Probabilities = NDArray[np.float64]

SIDE = 2**12  # values of one side of a cell of the rate table
BASELINE = "rate_table"  # what a spreadsheet would do; the first champion must beat it
ONLINE_POSITIONS = [schema.FEATURE_NAMES.index(name) for name in schema.ONLINE]


class Classifier(Protocol):
    def fit(self, matrix: Matrix, label: Labels, **arguments: Any) -> Any: ...

    def predict_proba(self, matrix: Matrix) -> NDArray[np.floating[Any]]: ...


class RateTable(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """The share positive of each cell of `PROBLEM.baseline`, pulled to the overall rate where entities are few."""

    def __init__(self, prior_rows: int) -> None:
        self.prior_rows = prior_rows

    def fit(self, matrix: Matrix, label: Labels) -> Self:
        self.classes_ = np.array([False, True])
        self.rate_ = float(label.mean())
        cells = pd.Series(label).groupby(self._cells(matrix)).agg(["sum", "count"])
        self.table_ = (cells["sum"] + self.prior_rows * self.rate_) / (cells["count"] + self.prior_rows)
        return self

    def predict_proba(self, matrix: Matrix) -> Probabilities:
        rate = self.table_.reindex(self._cells(matrix)).fillna(self.rate_).to_numpy()
        return np.column_stack([1 - rate, rate])

    def _cells(self, matrix: Matrix) -> NDArray[np.int64]:
        """A number for each row's cell, exact as long as no side has more than SIDE values."""
        cell = np.zeros(len(matrix), dtype=np.int64)
        for side in PROBLEM.baseline:
            value = matrix[:, schema.FEATURE_NAMES.index(side.feature)].astype(np.float64)
            cell = cell * SIDE + np.nan_to_num(np.floor(value / side.width), nan=-1).astype(np.int64) % SIDE
        return cell


def fit(
    name: str, matrix: Matrix, label: Labels, params: Train, weights: NDArray[np.float64] | None = None
) -> Classifier:
    """The fitted candidate, whose thread count changes nothing but the time; `weights` are of the rows, if any."""
    candidate = CANDIDATES[name]
    estimator: Classifier = candidate.build(params.of(name), params.seed)
    weighted = {} if weights is None else {_weights_argument(estimator): weights}
    # A BLAS sum depends on how many threads share it.
    with threadpool_limits(1, user_api="blas"):
        fitted: Classifier = estimator.fit(matrix, label, **candidate.fit_arguments, **weighted)
    if candidate.after_fit is not None:
        candidate.after_fit(fitted)
    return fitted


def _weights_argument(estimator: Any) -> str:
    """A pipeline hands arguments on to a step by its name."""
    return f"{estimator.steps[-1][0]}__sample_weight" if hasattr(estimator, "steps") else "sample_weight"


def predict(model: Classifier, matrix: Matrix) -> Probabilities:
    """The probability of label, shape (n,)."""
    with warnings.catch_warnings():
        # LightGBM names the columns by itself, and scikit-learn then asks every matrix for names.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return np.asarray(model.predict_proba(matrix)[:, 1], dtype=np.float64)


def with_request_only(matrix: Matrix, label: Labels, share: float, seed: int) -> tuple[Matrix, Labels]:
    """The rows, and a share of them once more as they look without the online store: all but the request missing.

    Without these the model has never seen such an entity, and answers it worse.
    """
    chosen = np.random.default_rng(seed).choice(len(matrix), int(share * len(matrix)), replace=False)
    return np.vstack([matrix, request_only(matrix[chosen])]), np.concatenate([label, label[chosen]])


def request_only(matrix: Matrix) -> Matrix:
    """The same entities, as if nothing but their request were known."""
    masked = matrix.copy()
    masked[:, ONLINE_POSITIONS] = np.nan
    return masked


def ablated(matrix: Matrix, ablation: str) -> Matrix:
    """The same entities, as if the feature families that the problem declares for this ablation were never known."""
    names = [name for family in PROBLEM.ablations[ablation].families for name in schema.FAMILIES[family]]
    masked = matrix.copy()
    masked[:, [schema.FEATURE_NAMES.index(name) for name in names]] = np.nan
    return masked


def categories_of(features: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """The values of each categorical feature; the position of a value is its code.

    Raises ProblemBroken for a value that is not text: 3 may come back as 3.0, and would be another category.
    """
    categories = {name: features[name].dropna().unique() for name in schema.CATEGORICAL}
    for name, values in categories.items():
        if wrong := [value for value in values if not isinstance(value, str)]:
            raise ProblemBroken(
                f"features: {name} is declared categorical, but {wrong[0]!r} is not text: "
                "make text of it where the feature is computed, or declare a number"
            )
    return {name: tuple(sorted(map(str, values))) for name, values in categories.items()}


def matrix_of(features: pd.DataFrame, categories: Mapping[str, Sequence[str]]) -> Matrix:
    return encode({name: features[name].to_numpy() for name in schema.FEATURE_NAMES}, categories)
