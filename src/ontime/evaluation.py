"""Scores of probabilities, with confidence intervals clustered by day.

Entities of one day share its conditions, so an interval that treats them as independent is several times too narrow.
The values are summed by day, and the sums give a t interval with one degree of freedom less than there are days: the
cluster-robust standard error of Liang & Zeger (1986), with the small-sample factor and the t distribution that Cameron
& Miller (2015, "A Practitioner's Guide to Cluster-Robust Inference") recommend for few clusters. `make bench-gate`
measures its coverage. It holds for days like these: it does not cover how another season may differ.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit
from sklearn.metrics import average_precision_score, roc_auc_score

from ontime.params import Cost
from ontime.refusal import Refusal

Labels = NDArray[np.bool_]
Floats = NDArray[np.float64]

CALIBRATION_BINS = 15
CHANCE_DRAWS = 200
CONFIDENCE_LEVEL = 0.95
MIN_DAYS = 2  # an interval by days needs more than one


class LeakSuspected(Refusal):
    """A test score that is too high without a leak."""


class Interval(NamedTuple):
    low: float
    high: float


class Estimate(NamedTuple):
    """A statistic with its standard error by days, and the resulting 95 % interval."""

    value: float
    error: float
    low: float
    high: float
    days: int

    @property
    def interval(self) -> Interval:
        """Rounded to the precision that 50,000 entities allow."""
        return Interval(round(self.low, 4), round(self.high, 4))


def losses(label: Labels, probability: Floats) -> Floats:
    """The log-loss of each entity.

    >>> losses(np.array([True, False]), np.array([0.9, 0.9])).round(3)
    array([0.105, 2.303])
    """
    likelihood = np.clip(np.where(label, probability, 1 - probability), 1e-15, 1)
    return -np.log(likelihood)


def cost_per_1000(label: Labels, probability: Floats, cost: Cost, threshold: float | None = None) -> float:
    """The cost of missed positives and false alarms per 1,000 entities, when alerting from a threshold on."""
    alert = probability >= (cost.alert_threshold if threshold is None else threshold)
    missed, false = (label & ~alert).mean(), (~label & alert).mean()
    return float(1000 * (cost.missed * missed + cost.false_alarm * false))


def calibration(label: Labels, probability: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Mean prediction, observed rate and count of each equally wide bin that holds entities."""
    bins = np.minimum((probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    filled = counts > 0
    predicted = np.bincount(bins, probability, CALIBRATION_BINS)[filled] / counts[filled]
    observed = np.bincount(bins, label, CALIBRATION_BINS)[filled] / counts[filled]
    return predicted, observed, counts[filled]


def expected_calibration_error(label: Labels, probability: Floats) -> float:
    """The mean distance between predicted and observed rate over the bins, weighted by entities (Guo et al. 2017)."""
    predicted, observed, counts = calibration(label, probability)
    return float(np.average(np.abs(predicted - observed), weights=counts))


def chance_calibration_error(probability: Floats) -> float:
    """The 95 % quantile of the calibration error if every probability were right: on few rows chance alone gives much.

    Of `CHANCE_DRAWS` draws of the labels, always the same ones.
    """
    random = np.random.default_rng(0)
    draws = (random.random(len(probability)) < probability for _ in range(CHANCE_DRAWS))
    return float(np.quantile([expected_calibration_error(label, probability) for label in draws], 0.95))


def calibration_parts(label: Labels, probability: Floats, bins: int = CALIBRATION_BINS) -> Floats:
    """The contribution of each entity to the calibration error; their mean is the ECE.

    With one bin, the mean is the distance between mean probability and observed rate. In a bin whose probabilities are
    too high on average, an entity contributes probability minus label, otherwise label minus probability.
    """
    gap = probability - label
    bin_of = np.minimum((probability * bins).astype(int), bins - 1)
    parts: Floats = np.sign(np.bincount(bin_of, gap, bins))[bin_of] * gap
    return parts


def scores(label: Labels, probability: Floats, cost: Cost) -> dict[str, float]:
    """The scores in reports/metrics.json, rounded to the precision that 50,000 entities allow."""
    exact = {
        "auc": roc_auc_score(label, probability),
        "average_precision": average_precision_score(label, probability),
        "brier": np.mean((probability - label) ** 2),
        "log_loss": losses(label, probability).mean(),
        "ece": expected_calibration_error(label, probability),
    }
    return {
        **{name: round(float(value), 4) for name, value in exact.items()},
        "cost_per_1000": round(cost_per_1000(label, probability, cost), 1),
    }


def auc(label: Labels, probability: Floats) -> float:
    """The chance that a positive entity has a higher probability than a negative one; needs both labels."""
    return float(roc_auc_score(label, probability))


def expected_auc(probability: Floats) -> float:
    """The AUC to expect if the probabilities are exactly right.

    It is lower in a season in which most entities are about equally likely to be positive.
    """
    rank = np.unique(probability, return_inverse=True)[1]
    positive, negative = np.bincount(rank, probability), np.bincount(rank, 1 - probability)
    below = np.cumsum(negative) - negative
    return float(positive @ (below + negative / 2) / (positive.sum() * negative.sum()))


def expected_loss(probability: Floats) -> float:
    """The mean log-loss to expect if the probabilities are exactly right: their entropy.

    >>> round(expected_loss(np.array([0.5, 0.5])), 4)
    0.6931
    """
    clipped = np.clip(probability, 1e-15, 1 - 1e-15)
    return float(-(clipped * np.log(clipped) + (1 - clipped) * np.log(1 - clipped)).mean())


def refuse_leak(name: str, auc: float, limit: float) -> None:
    """Raise LeakSuspected for a score that is out of reach with what is known at the prediction moment."""
    if auc > limit:
        raise LeakSuspected(
            f"{name}: test AUC {auc:.3f} is above evaluate.leak_auc {limit}: a feature uses "
            "information from after the prediction moment. Check the newest features and their known_at."
        )


def by_days(value: float, influence: Floats, days: NDArray[np.datetime64]) -> Estimate | None:
    """A statistic with its interval by days; None for fewer than two days.

    `influence` is the influence function: for each entity its effect on the statistic, zero on average. For a mean
    it is the entity's value minus the mean.
    """
    sums = np.bincount(pd.factorize(days)[0], influence)
    count = len(sums)
    if count < MIN_DAYS:
        return None
    error = float(np.sqrt(count / (count - 1) * np.sum(sums**2)) / len(influence))
    return _estimate(value, error, count)


def _estimate(value: float, error: float, days: int) -> Estimate:
    half_width = float(stdtrit(days - 1, (1 + CONFIDENCE_LEVEL) / 2)) * error
    return Estimate(value, error, value - half_width, value + half_width, days)


def mean_interval(values: Floats, days: NDArray[np.datetime64]) -> Estimate | None:
    """The mean of the entities' values with its interval by days; None for fewer than two days."""
    mean = float(values.mean())
    return by_days(mean, values - mean, days)


def mean_intervals(values: Floats, groups: pd.Series, days: NDArray[np.datetime64]) -> dict[str, Estimate]:
    """`mean_interval` of every group of entities at once, by its name; groups of fewer than two days are left out."""
    codes, names = pd.factorize(groups)
    day, unique_days = pd.factorize(days)
    shape = len(names), len(unique_days)
    cell = codes * shape[1] + day
    entities = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    totals = np.bincount(cell, values, shape[0] * shape[1]).reshape(shape)
    size, count = entities.sum(axis=1), (entities > 0).sum(axis=1)
    means = totals.sum(axis=1) / size
    squares = ((totals - means[:, None] * entities) ** 2).sum(axis=1)
    estimates = {}
    for name, mean, square, entities_of, days_of in zip(names, means, squares, size, count, strict=True):
        if days_of >= MIN_DAYS:
            error = float(np.sqrt(days_of / (days_of - 1) * square) / entities_of)
            estimates[str(name)] = _estimate(float(mean), error, int(days_of))
    return estimates


def paired_difference(
    label: Labels, challenger: Floats, champion: Floats, days: NDArray[np.datetime64]
) -> Estimate | None:
    """Log-loss of the challenger minus the champion's on the same entities: below zero, the challenger is better."""
    return mean_interval(losses(label, challenger) - losses(label, champion), days)


def auc_interval(label: Labels, probability: Floats, days: NDArray[np.datetime64]) -> Interval | None:
    """95 % interval by days of the AUC; None for fewer than two days, or if only one of the labels occurs.

    An entity contributes to the AUC the share of the other class that it is ranked correctly against (DeLong et al.
    1988); contributions are summed by day as Obuchowski (1997) does for clustered data.
    """
    negatives, positives = np.sort(probability[~label]), np.sort(probability[label])
    if not len(negatives) or not len(positives):
        return None
    below = _share_below(negatives, probability[label])
    above = 1 - _share_below(positives, probability[~label])
    auc = float(below.mean())
    influence = np.empty(len(label))
    influence[label] = (below - auc) * len(label) / len(below)
    influence[~label] = (above - auc) * len(label) / len(above)
    estimate = by_days(auc, influence, days)
    if estimate is None:
        return None
    low, high = estimate.interval
    return Interval(max(low, 0.0), min(high, 1.0))


def _share_below(ordered: Floats, values: Floats) -> Floats:
    """For each value, the share of `ordered` below it; ties count half."""
    left, right = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    share: Floats = (left + right) / (2 * len(ordered))
    return share


def intervals(label: Labels, probability: Floats, days: NDArray[np.datetime64], cost: Cost) -> Mapping[str, Interval]:
    """95 % intervals by days of AUC, log-loss and cost; empty for fewer than two days."""
    alert = probability >= cost.alert_threshold
    entity_costs = 1000.0 * (cost.missed * (label & ~alert) + cost.false_alarm * (~label & alert))
    log_loss, costs = mean_interval(losses(label, probability), days), mean_interval(entity_costs, days)
    estimates = {
        "auc": auc_interval(label, probability, days),
        "log_loss": log_loss and log_loss.interval,
        "cost_per_1000": costs and costs.interval,
    }
    return {name: interval for name, interval in estimates.items() if interval}
