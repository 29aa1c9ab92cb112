"""What each family of features does to a figure when entities of then become entities of now: Shapley values.

Entities are paired at random, one of then with one of now, and the families of the first are replaced by those of the
second, one after the other, each step scored by the released model. So a family's value is measured through the model
itself, whatever kind it is. Each pair has its own order and then the reverse of it (Castro, Gomez and Tejada 2009;
Mitchell et al. 2022), which takes 12 questions where all combinations would take 64, and the values of all families add
up to the whole difference of a pair.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ontime import schema
from ontime.release import Model

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]
Places = NDArray[np.int64]

FAMILIES = tuple(schema.FAMILIES)
POSITIONS = {family: [schema.FEATURE_NAMES.index(name) for name in names] for family, names in schema.FAMILIES.items()}
FAMILY_OF = np.array(
    [number for number, names in enumerate(schema.FAMILIES.values()) for _ in names]
)  # for each feature, in the model's order


class Swaps:
    """Pairs of entities, and the model's answers on the way from then to now."""

    def __init__(self, model: Model, then: Matrix, now: Matrix, pairs: int, seed: int) -> None:
        """`pairs`: at most so many; those of now are spread over its rows, every row of then serves equally often."""
        rng = np.random.default_rng(seed)
        self.now: Places = np.linspace(0, len(now) - 1, min(pairs, len(now))).astype(np.int64)
        turns = rng.permutation(-(-len(self.now) // len(then)) * len(then))
        self.then: Places = turns[: len(self.now)] % len(then)
        forth = rng.permuted(np.tile(np.arange(len(FAMILIES)), (len(self.now), 1)), axis=1)
        before, after = then[self.then], now[self.now]
        self._places = forth, len(FAMILIES) - 1 - forth  # of each family in a pair's order, and in the reverse of it
        self._answers = tuple(_along(model, before, after, places) for places in self._places)

    @property
    def after(self) -> Floats:
        """The answers for the entities of now."""
        return self._answers[0][-1]

    def shares(self, figure: Callable[[Floats], Floats]) -> dict[str, Floats]:
        """What each family adds to each pair's difference of a figure, which is one of the answer."""
        rows, shares = np.arange(len(self.now)), {}
        steps = [np.diff([figure(answer) for answer in answers], axis=0) for answers in self._answers]
        for number, family in enumerate(FAMILIES):
            forth, back = (step[places[:, number], rows] for step, places in zip(steps, self._places, strict=True))
            shares[family] = (forth + back) / 2
        return shares


def _along(model: Model, then: Matrix, now: Matrix, places: Places) -> list[Floats]:
    """The answers after each step of the way; `places` has each family's step, shape (pairs, families)."""
    return [
        model.predict(np.where(places[:, FAMILY_OF] < step, now, then)).astype(np.float64)
        for step in range(len(FAMILIES) + 1)
    ]


def replaced(rows: Matrix, donors: Matrix, family: str) -> Matrix:
    """The rows with this family's features of the donors, row by row."""
    mixed = rows.copy()
    mixed[:, POSITIONS[family]] = donors[:, POSITIONS[family]]
    return mixed
