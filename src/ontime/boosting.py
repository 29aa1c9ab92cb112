"""LightGBM on a matrix or on rows in batches; both give the same model, byte for byte.

LightGBM's scikit-learn class needs a matrix. This class gives batches to the same library functions, and LightGBM keeps
only its own copy of the rows, as the numbers of histogram bins: a quarter of the matrix.
"""

from typing import Any, Self

import joblib
import lightgbm
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from ontime.batches import Batches, Matrix


class LightGBM(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A binary classifier. `parameters` have LightGBM's names.

    After `fit`, `booster_` is the model, as in LightGBM's scikit-learn class.
    """

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.parameters = parameters

    def fit(
        self,
        rows: Matrix | Batches,
        label: NDArray[Any],
        sample_weight: NDArray[np.float64] | None = None,
        categorical_feature: list[int] | None = None,
    ) -> Self:
        """`label` may also hold probabilities. `categorical_feature`: positions of the columns of categories' codes."""
        # The number that LightGBM's scikit-learn class takes: it is written into the model's text.
        parameters = {**self.parameters, "num_threads": joblib.cpu_count(only_physical_cores=True)}
        dataset = _Dataset(
            _AscendingRows(rows) if isinstance(rows, Batches) else rows,
            label.astype(np.float32),
            weight=sample_weight,
            categorical_feature=categorical_feature or [],
            params=parameters,
        )
        self.classes_ = np.array([False, True])
        if label.dtype == np.bool_:
            self.booster_ = lightgbm.train(parameters, dataset)
        else:
            # The same loss, for labels from 0 to 1. The trees predict alike, and converters know the other name.
            fitted = lightgbm.train({**parameters, "objective": "cross_entropy"}, dataset).model_to_string()
            named = fitted.replace("\nobjective=cross_entropy\n", "\nobjective=binary sigmoid:1\n")
            named = named.replace("\n[objective: cross_entropy]\n", "\n[objective: binary]\n")
            self.booster_ = lightgbm.Booster(model_str=named)
        return self

    def predict_proba(self, matrix: Matrix) -> NDArray[np.float64]:
        positive = np.asarray(self.booster_.predict(matrix))
        return np.column_stack([1 - positive, positive])


class _Dataset(lightgbm.Dataset):
    def get_params(self) -> dict[str, Any]:
        """All parameters. LightGBM's method leaves out `min_child_samples`, by which unusable features are dropped.

        It uses this method for rows in batches only, so these gave another model than a matrix.
        """
        return dict(self.params or {})


class _AscendingRows(lightgbm.Sequence):
    """Batches as LightGBM asks for them: single rows for its sample of values, then slices, both in ascending order."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._begin()

    def _begin(self) -> None:
        self._rest = iter(self._batches)
        self._first, self._batch = 0, next(self._rest)

    def __len__(self) -> int:
        return self._batches.rows

    def __getitem__(self, index: Any) -> NDArray[np.floating[Any]]:
        if isinstance(index, slice):
            return self._slice(index.start, index.stop)
        if not self._first <= index < self._first + len(self._batch):
            self._slice(index, index + 1)
        return self._batch[index - self._first].astype(np.float64)  # the type of LightGBM's sample

    def _slice(self, start: int, stop: int) -> Matrix:
        """The batches go on from where the last slice ended, unless this one lies before it."""
        if start < self._first:
            self._begin()
        pieces = []
        while (end := self._first + len(self._batch)) < stop:
            pieces.append(self._batch[max(0, start - self._first) :])
            self._first, self._batch = end, next(self._rest)
        pieces.append(self._batch[max(0, start - self._first) : stop - self._first])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
