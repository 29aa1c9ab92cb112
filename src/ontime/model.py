"""The candidates, each a few lines, all on the same numbers: `schedule.encode`'s float32 matrix.

Columns are in the order of schema.FEATURE_NAMES; the first are the coded categories, NaN where unseen.
Same seed, same model, whatever the number of threads.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from ontime import schema
from ontime.params import Train
from ontime.schedule import encode

Matrix = NDArray[np.float32]
Labels = NDArray[np.bool_]
Probabilities = NDArray[np.float64]

BASELINE = "rate_table"  # what a spreadsheet would do; the first champion must beat it
CATEGORY_POSITIONS = [schema.FEATURE_NAMES.index(name) for name in schema.CATEGORICAL]
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


def constant(_: Train) -> Classifier:
    return DummyClassifier(strategy="prior")


def rate_table(params: Train) -> Classifier:
    return RateTable(params.rate_table.prior_flights)


def logistic(params: Train) -> Classifier:
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    prepared = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32), CATEGORY_POSITIONS),
        remainder=numbers,
    )
    # Newton with Cholesky: many more rows than columns, so each of its few steps is cheap.
    return make_pipeline(prepared, LogisticRegression(C=params.logistic.c, solver="newton-cholesky"))


def hist_gradient_boosting(params: Train) -> Classifier:
    # Codes as plain numbers: with native categories skl2onnx converts it wrongly, without a word.
    return HistGradientBoostingClassifier(
        **params.hist_gradient_boosting.model_dump(), early_stopping=False, random_state=params.seed
    )


def lightgbm(params: Train) -> Classifier:
    return LGBMClassifier(
        **params.lightgbm.model_dump(),
        random_state=params.seed,
        deterministic=True,
        force_row_wise=True,
        verbose=-1,
    )


CANDIDATES: dict[str, Callable[[Train], Classifier]] = {
    "constant": constant,
    "rate_table": rate_table,
    "logistic": logistic,
    "hist_gradient_boosting": hist_gradient_boosting,
    "lightgbm": lightgbm,
}
FIT_ARGUMENTS = {"lightgbm": {"categorical_feature": CATEGORY_POSITIONS}}
EXPORTABLE = {"logistic", "hist_gradient_boosting", "lightgbm"}  # the others are there to be beaten


def fit(name: str, matrix: Matrix, late: Labels, params: Train) -> Classifier:
    """The fitted candidate, whose thread count changes nothing but the time."""
    # A BLAS sum depends on how many threads share it.
    with threadpool_limits(1, user_api="blas"):
        fitted = CANDIDATES[name](params).fit(matrix, late, **FIT_ARGUMENTS.get(name, {}))
    if isinstance(fitted, HistGradientBoostingClassifier):
        fitted._bin_mapper.n_threads = 1  # else the saved file remembers how many cores this machine has
    return fitted


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
