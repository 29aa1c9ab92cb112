"""What each family of features does to a figure when flights of then become flights of now: Shapley values.

Flights are paired at random, one of then with one of now, and the families of the first are replaced by those of the
second, in every combination, each scored by the released model. So a family's value is measured through the model
itself, whatever kind it is, and the values of all families add up to the whole difference of a pair.
"""

from functools import cached_property
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from ontime import schema
from ontime.release import Model

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]
Places = NDArray[np.int64]

FAMILIES = tuple(schema.FAMILIES)
POSITIONS = {family: [schema.FEATURE_NAMES.index(name) for name in names] for family, names in schema.FAMILIES.items()}
EVERY = frozenset(FAMILIES)
SUBSETS = tuple(frozenset(chosen) for size in range(len(FAMILIES) + 1) for chosen in combinations(FAMILIES, size))


class Swaps:
    """Pairs of flights, and the model's answer with each combination of families taken from now."""

    def __init__(self, model: Model, then: Matrix, now: Matrix, pairs: int, seed: int) -> None:
        """`pairs`: at most so many; those of now are spread over its rows, every row of then serves equally often."""
        self.now: Places = np.linspace(0, len(now) - 1, min(pairs, len(now))).astype(np.int64)
        turns = np.random.default_rng(seed).permutation(-(-len(self.now) // len(then)) * len(then))
        self.then: Places = turns[: len(self.now)] % len(then)
        self.answers = {
            chosen: model.predict(replaced(then[self.then], now[self.now], chosen)).astype(np.float64)
            for chosen in SUBSETS
        }

    @cached_property
    def before(self) -> Floats:
        """The answers for the flights of then."""
        return self.answers[frozenset()]

    @cached_property
    def after(self) -> Floats:
        """The answers for the flights of now."""
        return self.answers[EVERY]

    def shares(self, figure: dict[frozenset[str], Floats]) -> dict[str, Floats]:
        """What each family adds to each pair's difference: Shapley (1953).

        `figure` has a value for each pair and each combination of families.
        """
        return {family: _shapley(family, figure) for family in FAMILIES}


def replaced(rows: Matrix, donors: Matrix, families: frozenset[str]) -> Matrix:
    """The rows with these families' features of the donors, row by row."""
    positions = [place for family in families for place in POSITIONS[family]]
    mixed = rows.copy()
    mixed[:, positions] = donors[:, positions]
    return mixed


def _shapley(family: str, figure: dict[frozenset[str], Floats]) -> Floats:
    others = len(FAMILIES) - 1
    added = np.zeros_like(figure[EVERY])
    for chosen in SUBSETS:
        if family not in chosen:
            added += (figure[chosen | {family}] - figure[chosen]) / (len(FAMILIES) * comb(others, len(chosen)))
    return added
