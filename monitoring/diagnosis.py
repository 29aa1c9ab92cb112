"""Why the answers of one period are worse than those of another: the change taken apart, and the causes that stand out.

A cause has a cost in log-loss, so that causes of all kinds can be put in one order. Of a family of features it is what
its part of the answers promised and did not keep; of the base rate, of a slice or of all answers alike, what a
correction fitted on other days would win back. Decision 27 says against what this was chosen, and what it cannot see.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from monitoring import changes, recalibration
from monitoring.changes import Answers, Change, Line, Period
from monitoring.swaps import FAMILIES, Swaps, replaced
from ontime import evaluation, slices
from ontime.evaluation import Estimate
from ontime.params import Cost
from ontime.release import Model

PAIRS = 3000  # of entities; more would hardly narrow an interval, because days are what is few
SLICE_ENTITIES = 200  # a smaller slice has too few positive rows on every second day
STANDS_OUT = 0.01  # of log-loss
SURE = 1.4  # a 99 % interval is wider than the 95 % one by so much, over a fortnight: some 35 causes are looked at
SILENT = 1 / 3  # a family that moves the answers by less than this share of before has nothing to say any longer
BEYOND = 0.2  # of what a constant and a slope win back: the slope's share from which it is more than the base rate
FEWEST_DAYS = 2 * evaluation.FEWEST_DAYS  # each half needs an interval
EVERYWHERE = "the relation itself"
NO_ENTITIES = Estimate(0.0, 0.0, 0.0, 0.0, 0)

Promises = Mapping[str, Estimate]


class TooFewDays(ValueError):
    """A period about which nothing can be said by days."""


@dataclass(frozen=True)
class Cause:
    """Something that may be wrong, and the log-loss that it costs now more than it did then."""

    kind: Literal["base rate", "family", "slice", "relation"]
    name: str  # of a family, or of a slice: "weather", "hour before 09:00"
    cost: Line
    silent: bool = False  # of a family: it no longer tells entities apart, instead of misleading

    @property
    def stands_out(self) -> bool:
        value, low, _ = self.cost
        return value >= STANDS_OUT and value > SURE * (value - low)


@dataclass(frozen=True)
class Slice:
    cut: str
    name: str
    entities: int
    positive_rate: float
    predicted: float
    log_loss: float
    expected: float  # the log-loss that exactly right probabilities would have
    before: float | None  # the log-loss then; None where there was no such entity


@dataclass(frozen=True)
class Diagnosis:
    entities: tuple[int, int]  # then, now
    positive_rate: tuple[float, float]
    predicted: tuple[float, float]
    changes: Mapping[str, Change]  # of the log-loss, and of the cost of 1,000 entities
    causes: tuple[Cause, ...]  # the most costly first
    slices: tuple[Slice, ...]

    @property
    def culprits(self) -> tuple[Cause, ...]:
        return tuple(cause for cause in self.causes if cause.stands_out)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"stands_out": [cause.name for cause in self.culprits]}


def diagnose(model: Model, then: Period, now: Period, cost: Cost, seed: int) -> Diagnosis:
    """Why this model's answers are worse now than then. Raises TooFewDays."""
    for name, period in (("before", then), ("now", now)):
        if (days := len(np.unique(period.days))) < FEWEST_DAYS:
            raise TooFewDays(
                f"{name}: this release has answered entities of {days} days whose outcome is known, a diagnosis needs "
                f"{FEWEST_DAYS}; `make materialise` brings in outcomes that have come"
            )
    before, after = Answers.of(model, then), Answers.of(model, now)
    swaps = Swaps(model, then.matrix, now.matrix, PAIRS, seed)
    promises = (
        _broken_promises(before, Swaps(model, then.matrix, then.matrix, PAIRS, seed)),
        _broken_promises(after, swaps),
    )
    scores = {"log_loss": changes.log_loss, "cost_per_1000": changes.cost_per_1000(cost)}
    causes = [
        *_base_rate_and_relation(before, after),
        *_of_slices(before, after),
        *_of_families(model, before, after, promises, seed),
    ]
    return Diagnosis(
        entities=(len(then.label), len(now.label)),
        positive_rate=(float(then.label.mean()), float(now.label.mean())),
        predicted=(float(before.probability.mean()), float(after.probability.mean())),
        changes={name: changes.change(before, after, swaps, score) for name, score in scores.items()},
        causes=tuple(sorted(causes, key=lambda cause: -cause.cost.value)),
        slices=tuple(_slices(before, after)),
    )


def _won_back(answers: Answers, corrections: NDArray[np.float64]) -> Estimate:
    """The log-loss that a correction saves."""
    label, days = answers.period.label, answers.period.days
    after = recalibration.corrected(answers.log_odds, label, corrections, days)
    return answers.mean(_loss(label, answers.log_odds) - _loss(label, after))


def _loss(label: NDArray[np.bool_], log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.logaddexp(0, log_odds) - label * log_odds


def _base_rate_and_relation(then: Answers, now: Answers) -> list[Cause]:
    constants = [_won_back(each, recalibration.constant(each.log_odds)) for each in (now, then)]
    slopes = [
        _won_back(each, recalibration.constant_and_slope(each.log_odds, np.ones(len(each.log_odds), bool)))
        for each in (now, then)
    ]
    causes = [Cause("base rate", "base rate", changes.difference(*constants))]
    if slopes[0].value - constants[0].value > BEYOND * slopes[0].value > 0:
        causes.append(Cause("relation", EVERYWHERE, changes.difference(*slopes)))
    return causes


def _of_slices(then: Answers, now: Answers) -> list[Cause]:
    return [
        Cause("slice", f"{cut} {name}", changes.difference(found, _slice(then, str(cut), name) or NO_ENTITIES))
        for cut, names in now.period.cuts.items()
        for name in sorted(set(names))
        if (found := _slice(now, str(cut), name)) is not None
    ]


def _slice(answers: Answers, cut: str, name: str) -> Estimate | None:
    """What correcting one slice wins back over all entities; None where it has too few of them."""
    chosen = (answers.period.cuts[cut] == name).to_numpy(bool)
    if chosen.sum() < SLICE_ENTITIES:
        return None
    return _won_back(answers, recalibration.constant_and_slope(answers.log_odds, chosen))


def _of_families(
    model: Model, then: Answers, now: Answers, promises: tuple[Promises, Promises], seed: int
) -> list[Cause]:
    causes = []
    for family in FAMILIES:
        if _moved(family, model, now, seed) < SILENT * _moved(family, model, then, seed):
            causes.append(Cause("family", family, _cost_of_silence(family, model, then, now, seed), silent=True))
        else:
            causes.append(Cause("family", family, changes.difference(promises[1][family], promises[0][family])))
    return causes


def _broken_promises(answers: Answers, swaps: Swaps) -> Promises:
    """What each family's part of the log-odds promises to save, less what it does save.

    Both are linear in the outcome, so their difference is the answer's error times that part. While the probabilities
    are right, the error has nothing to do with any part, and this is zero.
    """
    parts = swaps.shares(lambda answer: np.asarray(logit(changes.inside(answer))))
    errors, days = swaps.after - answers.period.label[swaps.now], answers.period.days[swaps.now]
    promises = {family: evaluation.mean_interval(errors * part, days) for family, part in parts.items()}
    return {family: promise for family, promise in promises.items() if promise is not None}


def _moved(family: str, model: Model, answers: Answers, seed: int) -> float:
    """How far the log-odds move when entities of one period exchange this family's values."""
    matrix = answers.period.matrix
    chosen = np.linspace(0, len(matrix) - 1, min(PAIRS, len(matrix))).astype(int)
    rows = matrix[chosen]
    exchanged = replaced(rows, np.random.default_rng(seed).permutation(rows), family)
    moved = logit(changes.inside(model.predict(exchanged).astype(np.float64)))
    return float(np.abs(moved - answers.log_odds[chosen]).mean())


def _cost_of_silence(family: str, model: Model, then: Answers, now: Answers, seed: int) -> Line:
    """What the entities of then would lose if they had this family's values of now."""
    donors = np.random.default_rng(seed).integers(len(now.period.matrix), size=len(then.period.matrix))
    rows = replaced(then.period.matrix, now.period.matrix[donors], family)
    label, after = (
        then.period.label,
        Answers.of(model, Period(rows, then.period.label, then.period.days, then.period.cuts)),
    )
    lost = then.mean(_loss(label, after.log_odds) - _loss(label, then.log_odds))
    return Line(lost.value, lost.low, lost.high)


def _slices(then: Answers, now: Answers) -> list[Slice]:
    losses = [_loss(each.period.label, each.log_odds) for each in (then, now)]
    expected = changes.log_loss(now.probability).expected(now.probability)
    rows = []
    for cut, names in now.period.cuts.items():
        for name in sorted(set(names), key=slices.order):
            chosen = (names == name).to_numpy(bool)
            before = (then.period.cuts[cut] == name).to_numpy(bool)
            rows.append(
                Slice(
                    cut=str(cut),
                    name=name,
                    entities=int(chosen.sum()),
                    positive_rate=float(now.period.label[chosen].mean()),
                    predicted=float(now.probability[chosen].mean()),
                    log_loss=float(losses[1][chosen].mean()),
                    expected=float(expected[chosen].mean()),
                    before=float(losses[0][before].mean()) if before.any() else None,
                )
            )
    return rows
