"""Fits the candidates of candidates.py and predicts with them, all on the float32 rows of `encoding.encode`.

Columns are in the order of schema.FEATURE_NAMES; a category is its code, NaN if it was not seen in training.
The same seed gives the same model on the same machine, with any number of threads.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from threadpoolctl import threadpool_limits

from ontime import schema
from ontime.batches import Batches
from ontime.batches import Matrix as Matrix
from ontime.candidate import ONLINE_POSITIONS as ONLINE_POSITIONS
from ontime.candidates import CANDIDATES
from ontime.declaration import ProblemBroken
from ontime.encoding import encode
from ontime.params import Train
from ontime.problem import PROBLEM
from ontime.refusal import Refusal

Labels = NDArray[np.bool_]
Probabilities = NDArray[np.float64]

MAX_SIDE_VALUES = 2**12  # of one side of a cell of the rate table
BASELINE = "rate_table"  # a lookup table of rates; the first champion must beat it
NO_CHANGES: Mapping[str, object] = MappingProxyType({})
COPIED_ROWS = 50_000  # of a batch of request-only copies
REQUEST_POSITIONS = [position for position in range(len(schema.FEATURE_NAMES)) if position not in ONLINE_POSITIONS]


class Classifier(Protocol):
    def fit(self, rows: Any, label: NDArray[Any], **arguments: Any) -> Any: ...

    def predict_proba(self, matrix: Matrix) -> NDArray[np.floating[Any]]: ...


class RateTable(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """The share of positive rows in each cell of `PROBLEM.baseline`, shrunk towards the overall rate."""

    def __init__(self, prior_rows: int) -> None:
        self.prior_rows = prior_rows

    def fit(self, rows: Matrix | Batches, label: Labels) -> Self:
        self.classes_ = np.array([False, True])
        self.rate_ = float(label.mean())
        batches = rows if isinstance(rows, Batches) else [rows]
        cell = np.concatenate([self._cells(batch) for batch in batches])
        cells = pd.Series(label).groupby(cell).agg(["sum", "count"])
        self.table_ = (cells["sum"] + self.prior_rows * self.rate_) / (cells["count"] + self.prior_rows)
        return self

    def predict_proba(self, matrix: Matrix) -> Probabilities:
        rate = self.table_.reindex(self._cells(matrix)).fillna(self.rate_).to_numpy()
        return np.column_stack([1 - rate, rate])

    def _cells(self, matrix: Matrix) -> NDArray[np.int64]:
        """A number for each row's cell, exact as long as no side has more than MAX_SIDE_VALUES values."""
        cell = np.zeros(len(matrix), dtype=np.int64)
        for side in PROBLEM.baseline:
            value = matrix[:, schema.FEATURE_NAMES.index(side.feature)].astype(np.float64)
            cell = (
                cell * MAX_SIDE_VALUES
                + np.nan_to_num(np.floor(value / side.width), nan=-1).astype(np.int64) % MAX_SIDE_VALUES
            )
        return cell


def fit(
    name: str, rows: Matrix | Batches, label: NDArray[Any], params: Train, weights: NDArray[np.float64] | None = None
) -> Classifier:
    """The fitted candidate; the number of threads changes only the time. `weights`, if given, are of the rows.

    `label`: bools; of LightGBM and the neural network also probabilities, to distil another model.

    Only a candidate that declares `reads_batches` takes rows in batches. Raises Refusal if a package is missing.
    """
    candidate, parameters = CANDIDATES[name], params.of(name)
    refuse_missing_packages(name)
    estimator: Classifier = candidate.build(parameters, params.seed)
    arguments = dict(candidate.fit_arguments)
    if weights is not None:
        if candidate.members is not None:
            raise Refusal(f"{name} is made from other candidates, so its rows cannot be weighted")
        arguments[_weights_argument(estimator)] = weights
    if candidate.members is not None:
        arguments["fit_member"] = partial(_fit_member, params)
    if candidate.prepare is not None:
        rows = candidate.prepare(rows.in_memory() if isinstance(rows, Batches) else rows)
    # The result of a BLAS sum depends on the number of threads.
    with threadpool_limits(1, user_api="blas"):
        fitted: Classifier = estimator.fit(rows, label, **arguments)
    if candidate.after_fit is not None:
        candidate.after_fit(fitted)
    return fitted


def curves_of(model: Classifier) -> Mapping[str, Sequence[float]]:
    """By name of a loss, its value after each epoch of the training; empty for a model that has no epochs."""
    return getattr(model, "curves_", {})


def _fit_member(
    params: Train, name: str, seed: int, rows: Matrix, label: Any, changes: Mapping[str, object] = NO_CHANGES
) -> Classifier:
    changed = params.changed(name, **changes) if changes else params
    return fit(name, rows, label, changed.model_copy(update={"seed": seed}))


def refuse_missing_packages(name: str) -> None:
    """Raise Refusal if this candidate needs packages that are not installed."""
    missing = [package for package in CANDIDATES[name].needs if find_spec(package) is None]
    if missing:
        raise Refusal(f"{name} needs {' and '.join(missing)}, not installed here: run `make install-candidates`")


def _weights_argument(estimator: Any) -> str:
    """A pipeline passes a fit argument to a step by the step's name."""
    return f"{estimator.steps[-1][0]}__sample_weight" if hasattr(estimator, "steps") else "sample_weight"


def predict(model: Classifier, rows: Matrix | Batches) -> Probabilities:
    """The probability of a positive label, shape (n,)."""
    if isinstance(rows, Batches):
        return np.concatenate([predict(model, batch) for batch in rows])
    return np.asarray(model.predict_proba(rows)[:, 1], dtype=np.float64)


def with_request_only(rows: Batches, label: Labels, share: float, seed: int) -> tuple[Batches, Labels]:
    """The rows, and after them copies of a share of them with all features missing that come from the online store.

    A model that has not seen such rows in training predicts worse for entities that are not in the store.
    """
    chosen = copied_rows(rows.rows, share, seed)
    order = np.argsort(chosen)
    ascending = chosen[order]

    def read() -> Iterator[Matrix]:
        # Only the features of the request are kept until the last row has been read.
        copies = np.empty((len(chosen), len(REQUEST_POSITIONS)), np.float32)
        first = 0
        for batch in rows:
            begin, end = np.searchsorted(ascending, [first, first + len(batch)])
            copies[order[begin:end]] = batch[ascending[begin:end] - first][:, REQUEST_POSITIONS]
            first += len(batch)
            yield batch
        for begin in range(0, len(copies), COPIED_ROWS):
            part = copies[begin : begin + COPIED_ROWS]
            batch = np.full((len(part), len(schema.FEATURE_NAMES)), np.nan, np.float32)
            batch[:, REQUEST_POSITIONS] = part
            yield batch

    return Batches(rows.rows + len(chosen), read), np.concatenate([label, label[chosen]])


def copied_rows(rows: int, share: float, seed: int) -> NDArray[np.int64]:
    """Of how many rows which ones `with_request_only` copies, in the order of the copies."""
    return np.random.default_rng(seed).choice(rows, int(share * rows), replace=False)


def request_only(matrix: Matrix) -> Matrix:
    """The same entities with request features only; all others are missing."""
    masked = matrix.copy()
    masked[:, ONLINE_POSITIONS] = np.nan
    return masked


def ablated(matrix: Matrix, ablation: str) -> Matrix:
    """The same entities without the feature families that the problem declares for this ablation."""
    names = [name for family in PROBLEM.ablations[ablation].families for name in schema.FAMILIES[family]]
    masked = matrix.copy()
    masked[:, [schema.FEATURE_NAMES.index(name) for name in names]] = np.nan
    return masked


def categories_of(features: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """The values of each categorical feature; the position of a value is its code.

    Raises ProblemBroken for a value that is not text: 3 may be read back as 3.0, a different category.
    """
    categories = {name: features[name].dropna().unique() for name in schema.CATEGORICAL}
    for name, values in categories.items():
        if not_text := [value for value in values if not isinstance(value, str)]:
            raise ProblemBroken(
                f"features: {name} is declared categorical, but {not_text[0]!r} is not text: "
                "convert it to text where the feature is computed, or declare it a number"
            )
    return {name: tuple(sorted(map(str, values))) for name, values in categories.items()}


def matrix_of(features: pd.DataFrame, categories: Mapping[str, Sequence[str]]) -> Matrix:
    return encode({name: features[name].to_numpy() for name in schema.FEATURE_NAMES}, categories)
