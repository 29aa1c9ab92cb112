"""A neural network for tables: piecewise-linear embeddings of numbers, embedded categories, and hidden layers.

Keras trains it, on JAX or, where KERAS_BACKEND says so, on PyTorch or TensorFlow. What is kept are arrays, so
predicting and exporting need none of these.

Embeddings of numbers: Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep Learning" (2022).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from ontime.batches import Matrix

Floats = NDArray[np.float32]
Places = NDArray[np.int64]
Dense = tuple[Floats, Floats]  # the weights of a layer, and its bias

BLOCKS, HELD_OUT_EVERY = 100, 10  # consecutive rows are of the same days, so whole blocks of them are held out
PREDICTED_ROWS = 8_192  # at a time: an embedded row is ten times as long


@dataclass(frozen=True)
class Embedding:
    """How a row becomes numbers from 0 to 1, and the codes of its categories.

    A number becomes one value for each bin between two quantiles: 0 below the bin, 1 above it, a straight line within.
    Beyond the outer quantiles it is taken for the smallest or largest value of the training rows.
    """

    source: Places  # of each bin: the position of its number
    low: Floats
    per_unit: Floats  # 1 / (high - low)
    nullable: Places  # positions of the numbers whose absence is a value too
    categories: Places  # positions of the codes
    sizes: tuple[int, ...]  # of each category: how many codes it has, and one more, for a missing or unseen category

    @classmethod
    def of(cls, rows: Matrix, categories: list[int], bins: int) -> Self:
        """The bins of these training rows. A number that is the same in all rows has none."""
        numbers = [position for position in range(rows.shape[1]) if position not in categories]
        edges = [_edges(rows[:, position], bins) for position in numbers]
        lows = np.concatenate([each[:-1] for each in edges])
        return cls(
            source=np.repeat(numbers, [max(len(each) - 1, 0) for each in edges]),
            low=lows,
            per_unit=1 / (np.concatenate([each[1:] for each in edges]) - lows),
            nullable=np.array([position for position in numbers if np.isnan(rows[:, position]).any()], np.int64),
            categories=np.array(categories, np.int64),
            sizes=tuple(int(np.nanmax(rows[:, position], initial=-1)) + 2 for position in categories),
        )

    @property
    def width(self) -> int:
        """The length of what `numbers` returns for a row."""
        return len(self.source) + len(self.nullable)

    def numbers(self, rows: Matrix) -> Floats:
        """The values of all bins, then 1 for each missing number."""
        values = np.clip((rows[:, self.source] - self.low) * self.per_unit, 0, 1)
        return np.hstack([np.nan_to_num(values, copy=False), np.isnan(rows[:, self.nullable])], dtype=np.float32)

    def codes(self, rows: Matrix) -> Places:
        """The codes from 1 on, and 0 for a missing or unseen category."""
        codes = np.nan_to_num(rows[:, self.categories], nan=-1).astype(np.int64) + 1
        return np.where(codes < np.array(self.sizes, np.int64), codes, 0)


def _edges(values: Floats, bins: int) -> Floats:
    present = values[~np.isnan(values)]
    return np.unique(np.quantile(present, np.linspace(0, 1, bins + 1)).astype(np.float32)) if len(present) else present


class NeuralNetwork(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A binary classifier. After `fit`, `embedding_`, `tables_` and `layers_` are the model.

    Training stops when the loss of held-out rows has not improved for `patience` epochs, and keeps the best weights.
    `curves_` has both losses after each epoch.
    """

    embedding_: Embedding
    tables_: Sequence[Floats]
    layers_: Sequence[Dense]
    curves_: Mapping[str, Sequence[float]]

    def __init__(
        self, *, bins: int, embedding: int, layers: int, units: int, dropout: float, learning_rate: float,
        weight_decay: float, batch_rows: int, epochs: int, patience: int, seed: int,
    ) -> None:  # fmt: skip
        self.bins = bins
        self.embedding = embedding
        self.layers = layers
        self.units = units
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_rows = batch_rows
        self.epochs = epochs
        self.patience = patience
        self.seed = seed

    def fit(
        self,
        rows: Matrix,
        label: NDArray[Any],
        sample_weight: NDArray[np.float64] | None = None,
        categories: Iterable[int] = (),
        begin_with: "NeuralNetwork | None" = None,
    ) -> Self:
        """`label` may also hold probabilities. `categories`: positions of the codes.

        Training begins with the weights of `begin_with`, a fitted network with layers of the same size, if given.
        """
        from ontime.keras_training import train

        self.classes_ = np.array([False, True])
        self.n_features_in_ = rows.shape[1]
        self.embedding_ = begin_with.embedding_ if begin_with else Embedding.of(rows, list(categories), self.bins)
        block = np.arange(len(rows)) * BLOCKS // len(rows)
        held_out = block % HELD_OUT_EVERY == self.seed % HELD_OUT_EVERY
        begin = (begin_with.tables_, begin_with.layers_) if begin_with else None
        targets = label.astype(np.float32)
        trained = train(self.get_params(), self.embedding_, rows, targets, sample_weight, held_out, begin)
        self.tables_, self.layers_, self.curves_ = trained
        return self

    def predict_proba(self, matrix: Matrix) -> Floats:
        starts = range(0, max(len(matrix), 1), PREDICTED_ROWS)
        positive = np.concatenate([self._positive(matrix[start : start + PREDICTED_ROWS]) for start in starts])
        return np.column_stack([1 - positive, positive])

    def _positive(self, rows: Matrix) -> Floats:
        codes = self.embedding_.codes(rows)
        embedded = [table[codes[:, place]] for place, table in enumerate(self.tables_)]
        values = np.hstack([self.embedding_.numbers(rows), *embedded])
        *hidden, (weights, bias) = self.layers_
        for each, shift in hidden:
            values = np.maximum(values @ each + shift, 0)
        return 1 / (1 + np.exp(-(values @ weights + bias)[:, 0]))
