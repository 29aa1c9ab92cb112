"""The mean of several models' probabilities: one algorithm with several seeds, several algorithms, or both."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from ontime.batches import Matrix
from ontime.candidate import FitMember


class Average(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """The members are the candidates `of`, each fitted with `seeds` seeds from `seed` on."""

    def __init__(self, of: list[str], seeds: int, seed: int) -> None:
        self.of = of
        self.seeds = seeds
        self.seed = seed

    def fit(self, rows: Matrix, label: NDArray[Any], fit_member: FitMember) -> Self:
        self.classes_ = np.array([False, True])
        self.n_features_in_ = rows.shape[1]
        self.members_ = [
            (name, fit_member(name, seed, rows, label))
            for name in self.of
            for seed in range(self.seed, self.seed + self.seeds)
        ]
        return self

    def predict_proba(self, matrix: Matrix) -> NDArray[np.float64]:
        return np.mean([np.asarray(member.predict_proba(matrix), np.float64) for _, member in self.members_], axis=0)
