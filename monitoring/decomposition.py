"""Decomposes the change of a score between two periods: covariates by family, base rate, concept drift. They add up.

An entity's score is its expectation under the predicted probability, plus a residual. The expectation depends on the
features alone, so its change is due to the covariates: entities that are harder or easier to predict. The residual is
zero on average while the probabilities are calibrated, so its change is due to the base rate, or to concept
drift: a different relation between features and outcomes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from monitoring import recalibration
from monitoring.family_shapley import FamilyShapley
from ontime import evaluation
from ontime.evaluation import Estimate
from ontime.params import Cost
from ontime.release import Model

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]


@dataclass(frozen=True)
class LabelledSample:
    """Entities with their outcomes. Row i of every part is the same entity."""

    matrix: NDArray[np.float32]  # the model's input
    label: Labels
    days: NDArray[np.datetime64]
    dimensions: pd.DataFrame  # a column for each dimension, with the slice of each entity


class Difference(NamedTuple):
    """A difference between two periods, with its 95 % interval by the days of both."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Change:
    before: float
    after: float
    total: Difference
    families: Mapping[str, Difference]
    covariates: Difference  # all families together
    base_rate: Difference
    concept_drift: Difference


class Score(NamedTuple):
    """The score of each probability if the label is positive, and if it is negative."""

    positive: Floats
    negative: Floats

    def observed(self, label: Labels) -> Floats:
        return np.where(label, self.positive, self.negative)

    def expected(self, probability: Floats) -> Floats:
        """The score's mean if the probability is calibrated; for the log-loss, its entropy."""
        return probability * self.positive + (1 - probability) * self.negative


ScoreFunction = Callable[[Floats], Score]


def log_loss(probability: Floats) -> Score:
    """The log-loss of each probability.

    >>> score = log_loss(np.array([0.2, 0.5]))
    >>> score.observed(np.array([True, True])).round(3).tolist()
    [1.609, 0.693]
    >>> score.expected(np.array([0.2, 0.5])).round(3).tolist()
    [0.5, 0.693]
    """
    positive = np.ones(len(probability), bool)
    return Score(evaluation.losses(positive, probability), evaluation.losses(~positive, probability))


def cost_score(cost: Cost) -> ScoreFunction:
    """The cost of the alerts that a probability leads to, per 1,000 entities."""

    def score(probability: Floats) -> Score:
        alert = probability >= cost.alert_threshold
        return Score(np.where(alert, 0.0, 1000.0 * cost.missed), np.where(alert, 1000.0 * cost.false_alarm, 0.0))

    return score


@dataclass(frozen=True)
class Predictions:
    """A model's probabilities for a sample, and the same after a correction of their base rate."""

    sample: LabelledSample
    probability: Floats
    log_odds: Floats
    recalibrated: Floats

    @classmethod
    def of(cls, model: Model, sample: LabelledSample) -> Self:
        probability = clip(model.predict(sample.matrix).astype(np.float64))
        log_odds = logit(probability)
        design = recalibration.intercept_design(log_odds)
        recalibrated = recalibration.cross_fitted(log_odds, sample.label, design, sample.days)
        return cls(sample, probability, log_odds, expit(recalibrated))

    def mean(self, values: Floats) -> Estimate:
        estimate = evaluation.mean_interval(values, self.sample.days)
        assert estimate is not None  # noqa: S101  `diagnose` refuses a sample of few days
        return estimate


def clip(probability: Floats) -> Floats:
    """Probabilities without 0 and 1, whose log-odds are infinite."""
    return np.clip(probability, 1e-6, 1 - 1e-6)


def decompose(before: Predictions, after: Predictions, shapley: FamilyShapley, score: ScoreFunction) -> Change:
    parts_before, parts_after = _parts(before, score), _parts(after, score)
    total, covariates, base_rate, concept_drift = (
        difference(part_after, part_before) for part_after, part_before in zip(parts_after, parts_before, strict=True)
    )
    return Change(
        before=parts_before[0].value,
        after=parts_after[0].value,
        total=total,
        families=_families(before, after, shapley, score, covariates.value),
        covariates=covariates,
        base_rate=base_rate,
        concept_drift=concept_drift,
    )


def _parts(predictions: Predictions, score: ScoreFunction) -> list[Estimate]:
    """The mean score, and its three summands: expectation, saving by the right base rate, rest."""
    label, scored = predictions.sample.label, score(predictions.probability)
    observed, expected = scored.observed(label), scored.expected(predictions.probability)
    saved = observed - score(predictions.recalibrated).observed(label)
    return [predictions.mean(part) for part in (observed, expected, saved, observed - expected - saved)]


def difference(after: Estimate, before: Estimate) -> Difference:
    """The difference of two estimates from independent days: their squared errors add up.

    >>> after, before = Estimate(0.50, 0.02, 0.46, 0.54, 14), Estimate(0.40, 0.015, 0.37, 0.43, 14)
    >>> [round(value, 3) for value in difference(after, before)]
    [0.1, 0.05, 0.15]
    """
    return _with_interval(after.value - before.value, after.high - after.value, before.high - before.value)


def _with_interval(value: float, *half_widths: float) -> Difference:
    half_width = float(np.hypot.reduce(half_widths))
    return Difference(value, value - half_width, value + half_width)


def _families(
    before: Predictions, after: Predictions, shapley: FamilyShapley, score: ScoreFunction, total: float
) -> dict[str, Difference]:
    """Each family's part of `total`. The pairs are a sample, so they miss some of it; that is divided equally."""
    values = shapley.values(lambda probability: score(probability).expected(probability))
    missing = (total - sum(float(value.mean()) for value in values.values())) / len(values)
    return {family: _mean_of_pairs(value, before, after, shapley, missing) for family, value in values.items()}


def _mean_of_pairs(
    values: Floats, before: Predictions, after: Predictions, shapley: FamilyShapley, missing: float
) -> Difference:
    """Pairs share the days of both periods, so both count (two-way clusters: Cameron, Gelbach and Miller 2011)."""
    clusters = before.sample.days[shapley.before], after.sample.days[shapley.after]
    estimates = [estimate for days in clusters if (estimate := evaluation.mean_interval(values, days))]
    return _with_interval(float(values.mean()) + missing, *(each.high - each.value for each in estimates))
