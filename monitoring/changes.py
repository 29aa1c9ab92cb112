"""What a score changed by between two periods: covariates by family, base rate, relation. They add up.

A score of an entity is what the probability itself expects of it, plus a surprise. What is expected depends on the
features alone, so its change is that of the covariates: harder or easier entities. The surprise is zero on average
while the probabilities are right, so its change is the base rate's, or that of the relation between features and
outcomes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from monitoring import recalibration
from monitoring.swaps import Swaps
from ontime import evaluation
from ontime.evaluation import Estimate
from ontime.params import Cost
from ontime.release import Model

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]


@dataclass(frozen=True)
class Period:
    """Entities with their outcomes. The rows of all parts are the same entities."""

    matrix: NDArray[np.float32]  # the model's input
    label: Labels
    days: NDArray[np.datetime64]
    cuts: pd.DataFrame  # a column for each way to cut, with the slice of each entity


class Line(NamedTuple):
    """A part of a change, with its 95 % interval by the days of both periods."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Change:
    before: float
    after: float
    total: Line
    families: Mapping[str, Line]
    covariates: Line  # all families together
    base_rate: Line
    relation: Line


class Score(NamedTuple):
    """What a probability pays for a positive label, and for a negative one."""

    positive: Floats
    negative: Floats

    def paid(self, label: Labels) -> Floats:
        return np.where(label, self.positive, self.negative)

    def expected(self, probability: Floats) -> Floats:
        """What is paid on average if the probability is right; of the log-loss, that is its entropy."""
        return probability * self.positive + (1 - probability) * self.negative


Scored = Callable[[Floats], Score]


def log_loss(probability: Floats) -> Score:
    every = np.ones(len(probability), bool)
    return Score(evaluation.losses(every, probability), evaluation.losses(~every, probability))


def cost_per_1000(cost: Cost) -> Scored:
    def score(probability: Floats) -> Score:
        alert = probability >= cost.alert_threshold
        return Score(np.where(alert, 0.0, 1000.0 * cost.missed), np.where(alert, 1000.0 * cost.false_alarm, 0.0))

    return score


@dataclass(frozen=True)
class Answers:
    """What a model says of a period's entities, and after its base rate is corrected."""

    period: Period
    probability: Floats
    log_odds: Floats
    with_their_rate: Floats

    @classmethod
    def of(cls, model: Model, period: Period) -> Self:
        probability = inside(model.predict(period.matrix).astype(np.float64))
        log_odds = logit(probability)
        shifted = recalibration.corrected(log_odds, period.label, recalibration.constant(log_odds), period.days)
        return cls(period, probability, log_odds, expit(shifted))

    def mean(self, values: Floats) -> Estimate:
        found = evaluation.mean_interval(values, self.period.days)
        assert found is not None  # noqa: S101  `diagnose` refuses a period of few days
        return found


def inside(probability: Floats) -> Floats:
    """Away from 0 and 1, which have no log-odds."""
    return np.clip(probability, 1e-6, 1 - 1e-6)


def change(then: Answers, now: Answers, swaps: Swaps, score: Scored) -> Change:
    total, covariates, base_rate, relation = (
        difference(after, before) for after, before in zip(_parts(now, score), _parts(then, score), strict=True)
    )
    return Change(
        before=_parts(then, score)[0].value,
        after=_parts(now, score)[0].value,
        total=total,
        families=_families(then, now, swaps, score, covariates.value),
        covariates=covariates,
        base_rate=base_rate,
        relation=relation,
    )


def _parts(answers: Answers, score: Scored) -> list[Estimate]:
    """The score, and what adds up to it: expected of the entities, won back by the right base rate, and the rest."""
    label, scored = answers.period.label, score(answers.probability)
    paid, expected = scored.paid(label), scored.expected(answers.probability)
    won_back = paid - score(answers.with_their_rate).paid(label)
    return [answers.mean(part) for part in (paid, expected, won_back, paid - expected - won_back)]


def difference(now: Estimate, then: Estimate) -> Line:
    """Of two figures of independent days: the squares of their errors add up."""
    return _around(now.value - then.value, now.high - now.value, then.high - then.value)


def _around(value: float, *reaches: float) -> Line:
    reach = float(np.hypot.reduce(reaches))
    return Line(value, value - reach, value + reach)


def _families(then: Answers, now: Answers, swaps: Swaps, score: Scored, total: float) -> dict[str, Line]:
    """What the pairs miss of the total, because they are a sample, is shared out evenly."""
    shares = swaps.shares(lambda answer: score(answer).expected(answer))
    missed = (total - sum(float(share.mean()) for share in shares.values())) / len(shares)
    return {family: _mean_of_pairs(share, then, now, swaps, missed) for family, share in shares.items()}


def _mean_of_pairs(values: Floats, then: Answers, now: Answers, swaps: Swaps, added: float = 0.0) -> Line:
    """Pairs share the days of both periods, so both count (two-way clusters: Cameron, Gelbach and Miller 2011)."""
    days = then.period.days[swaps.then], now.period.days[swaps.now]
    found = [estimate for each in days if (estimate := evaluation.mean_interval(values, each))]
    return _around(float(values.mean()) + added, *(each.high - each.value for each in found))
