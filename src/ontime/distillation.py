"""Distillation: a small model is fitted on labels mixed with the probabilities of a large one, its teacher.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015). The probabilities are out of fold: a
teacher that was fitted on a row has half learned its label by heart, and its probability of that row says little more.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from ontime.batches import Matrix
from ontime.candidate import FitMember

BLOCKS = 100  # of consecutive rows: a fold is made of whole blocks, because rows of a day are alike

Targets = NDArray[np.float64]


def teacher_targets(
    rows: Matrix, label: NDArray[np.bool_], request_only: NDArray[np.bool_], folds: int, share: float, fit_teacher: Any
) -> Targets:
    """The label of each row, mixed with `share` of its probability by a teacher that was not fitted on it.

    With one fold, the teacher is fitted on all rows, its own ones too. Rows with the request's features alone keep
    their label: they are copies, and a teacher may have been fitted on the row that they were copied from.
    """
    fold = np.arange(len(rows)) * BLOCKS // len(rows) % folds
    targets = label.astype(np.float64)
    for each in range(folds):
        taught = (fold == each) & ~request_only
        others = fold != each if folds > 1 else np.ones(len(rows), np.bool_)
        teacher = fit_teacher(rows[others], label[others])
        targets[taught] += share * (teacher.predict_proba(rows[taught])[:, 1] - targets[taught])
    return targets


def request_only_rows(rows: Matrix, online: list[int]) -> NDArray[np.bool_]:
    """Whether each row has the request's features alone; `online`: the positions of all others."""
    return np.array(np.isnan(rows[:, online]).all(axis=1)) if online else np.zeros(len(rows), np.bool_)


class Distilled(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A `student` with changed parameters, taught by `teacher`; both are names of candidates. It is `student_`."""

    def __init__(
        self, *, teacher: str, student: str, changes: Mapping[str, object], folds: int, share: float, seed: int
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.changes = changes
        self.folds = folds
        self.share = share
        self.seed = seed

    def fit(self, rows: Matrix, label: NDArray[np.bool_], fit_member: FitMember, online: list[int]) -> Self:
        """`online`: the positions of the features that are not in a request."""

        def fit_teacher(others: Matrix, labels: NDArray[np.bool_]) -> Any:
            return fit_member(self.teacher, self.seed, others, labels)

        targets = teacher_targets(rows, label, request_only_rows(rows, online), self.folds, self.share, fit_teacher)
        self.classes_ = np.array([False, True])
        self.n_features_in_ = rows.shape[1]
        self.student_ = fit_member(self.student, self.seed, rows, targets, self.changes)
        return self

    def predict_proba(self, matrix: Matrix) -> NDArray[Any]:
        return self.student_.predict_proba(matrix)
