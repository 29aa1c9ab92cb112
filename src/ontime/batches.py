"""Rows of a model that need not fit into memory: float32 matrices that are read one after the other."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Batches:
    """`rows` rows in a fixed order, as matrices of any number of rows. Each call of `read` begins at the first row."""

    rows: int
    read: Callable[[], Iterator[Matrix]]

    @classmethod
    def of(cls, matrix: Matrix) -> "Batches":
        """The rows of a matrix, in one batch."""
        return cls(len(matrix), lambda: iter([matrix]))

    def __iter__(self) -> Iterator[Matrix]:
        """Raises ValueError if there are fewer or more than `rows`, because files may change between two passes."""
        seen = 0
        for batch in self.read():
            seen += len(batch)
            if seen > self.rows:
                break
            yield batch
        if seen != self.rows:
            raise ValueError(f"the batches have {seen:,} rows, not {self.rows:,}: their source has changed meanwhile")

    def in_memory(self) -> Matrix:
        """All rows as one matrix, for what cannot be computed batch by batch."""
        first, matrix = 0, None
        for batch in self:
            if matrix is None:
                matrix = np.empty((self.rows, batch.shape[1]), batch.dtype)
            matrix[first : first + len(batch)] = batch
            first += len(batch)
        if matrix is None:
            raise ValueError("there are no batches, so the number of columns is not known")
        return matrix
