"""Shapley values of feature families: how much each family contributes to the change of a statistic between periods.

Entities of both periods are paired at random. In each pair the families of the first entity are replaced by those of
the second, one after the other, and the released model scores every step. So a family's value is measured through the
model itself, whatever its type. Each pair uses a random order and its reverse (Castro, Gomez and Tejada 2009; Mitchell
et al. 2022): 12 predictions instead of the 64 of all combinations. The values of all families add up to the whole
difference of a pair.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ontime import schema
from ontime.release import Model

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]
Indices = NDArray[np.int64]

FAMILIES = tuple(schema.FAMILIES)
POSITIONS = {family: [schema.FEATURE_NAMES.index(name) for name in names] for family, names in schema.FAMILIES.items()}
FAMILY_OF = np.array(
    [number for number, names in enumerate(schema.FAMILIES.values()) for _ in names]
)  # for each feature, in the model's order


class FamilyShapley:
    """Pairs of entities, and the model's predictions at each step from the one before to the one after.

    `before`, `after`: the row of each pair's entity in the matrix of its period.
    """

    def __init__(self, model: Model, before: Matrix, after: Matrix, pairs: int, seed: int) -> None:
        """At most `pairs` pairs: evenly spaced rows of `after`, each with a row of `before`, used equally often."""
        rng = np.random.default_rng(seed)
        self.after: Indices = np.linspace(0, len(after) - 1, min(pairs, len(after))).astype(np.int64)
        shuffled = rng.permutation(-(-len(self.after) // len(before)) * len(before))
        self.before: Indices = shuffled[: len(self.after)] % len(before)
        order = rng.permuted(np.tile(np.arange(len(FAMILIES)), (len(self.after), 1)), axis=1)
        self._orders = order, len(FAMILIES) - 1 - order  # the step of each family, and in the reverse order
        rows = before[self.before], after[self.after]
        self._probabilities = tuple(_probabilities(model, *rows, steps) for steps in self._orders)

    @property
    def probability_after(self) -> Floats:
        """The predictions for each pair's entity of the period after."""
        return self._probabilities[0][-1]

    def values(self, statistic: Callable[[Floats], Floats]) -> dict[str, Floats]:
        """Each family's contribution to each pair's difference in a statistic of the probability."""
        rows, values = np.arange(len(self.after)), {}
        changes = [np.diff([statistic(each) for each in steps], axis=0) for steps in self._probabilities]
        for number, family in enumerate(FAMILIES):
            forward, backward = (
                change[order[:, number], rows] for change, order in zip(changes, self._orders, strict=True)
            )
            values[family] = (forward + backward) / 2
        return values


def _probabilities(model: Model, before: Matrix, after: Matrix, steps: Indices) -> list[Floats]:
    """The predictions after each step; `steps` has the step of each family, shape (pairs, families)."""
    return [
        model.predict(np.where(steps[:, FAMILY_OF] < count, after, before)).astype(np.float64)
        for count in range(len(FAMILIES) + 1)
    ]


def replace_family(rows: Matrix, donors: Matrix, family: str) -> Matrix:
    """A copy of the rows with one family's features from the donors, row by row."""
    mixed = rows.copy()
    mixed[:, POSITIONS[family]] = donors[:, POSITIONS[family]]
    return mixed
