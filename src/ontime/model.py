"""Fitting and asking the candidates of candidates.py, all on the same numbers: `schedule.encode`'s float32 matrix.

Columns are in the order of schema.FEATURE_NAMES; the first are the coded categories, NaN where unseen.
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
from ontime.params import Train
from ontime.schedule import encode

Matrix = NDArray[np.float32]
Labels = NDArray[np.bool_]
Probabilities = NDArray[np.float64]

BASELINE = "rate_table"  # what a spreadsheet would do; the first champion must beat it
MATERIALISED_POSITIONS = [schema.FEATURE_NAMES.index(name) for name in schema.MATERIALISED]


class Classifier(Protocol):
    def fit(self, matrix: Matrix, late: Labels, **arguments: Any) -> Any: ...

    def predict_proba(self, matrix: Matrix) -> NDArray[np.floating[Any]]: ...


class RateTable(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """The share late of each airline, hour and airport, pulled to the overall rate where flights are few."""

    def __init__(self, prior_flights: int) -> None:
        self.prior_flights = prior_flights

    def fit(self, matrix: Matrix, late: Labels) -> Self:
        self.classes_ = np.array([False, True])
        self.rate_ = float(late.mean())
        cells = pd.Series(late).groupby(self._cells(matrix)).agg(["sum", "count"])
        self.table_ = (cells["sum"] + self.prior_flights * self.rate_) / (cells["count"] + self.prior_flights)
        return self

    def predict_proba(self, matrix: Matrix) -> Probabilities:
        rate = self.table_.reindex(self._cells(matrix)).fillna(self.rate_).to_numpy()
        return np.column_stack([1 - rate, rate])

    def _cells(self, matrix: Matrix) -> NDArray[np.int64]:
        carrier, origin, minute = (
            np.nan_to_num(matrix[:, schema.FEATURE_NAMES.index(name)], nan=-1).astype(np.int64)
            for name in ("carrier", "origin", "departure_minute")
        )
        return ((carrier + 1) * 10 + origin + 1) * 24 + minute // 60


def fit(
    name: str, matrix: Matrix, late: Labels, params: Train, weights: NDArray[np.float64] | None = None
) -> Classifier:
    """The fitted candidate, whose thread count changes nothing but the time; `weights` are of the rows, if any."""
    candidate = CANDIDATES[name]
    estimator: Classifier = candidate.build(params.of(name), params.seed)
    weighted = {} if weights is None else {_weights_argument(estimator): weights}
    # A BLAS sum depends on how many threads share it.
    with threadpool_limits(1, user_api="blas"):
        fitted: Classifier = estimator.fit(matrix, late, **candidate.fit_arguments, **weighted)
    if candidate.after_fit is not None:
        candidate.after_fit(fitted)
    return fitted


def _weights_argument(estimator: Any) -> str:
    """A pipeline hands arguments on to a step by its name."""
    return f"{estimator.steps[-1][0]}__sample_weight" if hasattr(estimator, "steps") else "sample_weight"


def predict(model: Classifier, matrix: Matrix) -> Probabilities:
    """The probability of late, shape (n,)."""
    with warnings.catch_warnings():
        # LightGBM names the columns by itself, and scikit-learn then asks every matrix for names.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return np.asarray(model.predict_proba(matrix)[:, 1], dtype=np.float64)


def with_schedule_only(matrix: Matrix, late: Labels, share: float, seed: int) -> tuple[Matrix, Labels]:
    """The rows, and a share of them once more as an unmaterialised flight looks: all but the schedule missing.

    Without these the model has never seen such a flight, and answers it worse.
    """
    chosen = np.random.default_rng(seed).choice(len(matrix), int(share * len(matrix)), replace=False)
    return np.vstack([matrix, schedule_only(matrix[chosen])]), np.concatenate([late, late[chosen]])


def schedule_only(matrix: Matrix) -> Matrix:
    """The same flights, as if nothing but their timetable were known."""
    masked = matrix.copy()
    masked[:, MATERIALISED_POSITIONS] = np.nan
    return masked


def categories_of(features: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """The values of each categorical feature; the position of a value is its code."""
    return {name: tuple(sorted(features[name].unique())) for name in schema.CATEGORICAL}


def matrix_of(features: pd.DataFrame, categories: Mapping[str, Sequence[str]]) -> Matrix:
    return encode({name: features[name].to_numpy() for name in schema.FEATURE_NAMES}, categories)
