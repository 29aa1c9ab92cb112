"""How good probabilities are, and how sure of it we can be: every interval is by days.

Entities of one day share its weather, so an interval over single entities is several times too narrow. The entities are
summed by day, and the sums give a t interval with one degree of freedom less than there are days: the cluster-robust
standard error of Liang & Zeger (1986) with the small-sample factor and the t distribution that Cameron & Miller (2015,
"A Practitioner's Guide to Cluster-Robust Inference") advise for few clusters. `make bench-gate` measures how often it
holds. It speaks of days like these: how another season differs from this one is not in it.
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
LEVEL = 0.95
FEWEST_DAYS = 2  # an interval by days needs more than one


class LeakSuspected(Refusal):
    """A score too good to be honest."""


class Interval(NamedTuple):
    low: float
    high: float


class Estimate(NamedTuple):
    """A figure with its standard error by days, and the 95 % interval that follows from it."""

    value: float
    error: float
    low: float
    high: float
    days: int

    @property
    def interval(self) -> Interval:
        """Rounded to what 50,000 entities can tell."""
        return Interval(round(self.low, 4), round(self.high, 4))


def losses(label: Labels, probability: Floats) -> Floats:
    """The log-loss of each entity."""
    told = np.clip(np.where(label, probability, 1 - probability), 1e-15, 1)
    return -np.log(told)


def cost_per_1000(label: Labels, probability: Floats, cost: Cost, threshold: float | None = None) -> float:
    """What alerting at a threshold costs a thousand entities: missed positives and false alarms."""
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
    """Guo et al. 2017: the mean distance between what is said and what happens, weighted by entities."""
    predicted, observed, counts = calibration(label, probability)
    return float(np.average(np.abs(predicted - observed), weights=counts))


def calibration_parts(label: Labels, probability: Floats, bins: int = CALIBRATION_BINS) -> Floats:
    """What each entity adds to the calibration error; the mean is the ECE, or for one bin the distance of the means.

    In a bin whose probabilities are too high on average an entity adds its probability less its outcome, in one where
    they are too low the opposite.
    """
    gap = probability - label
    bin_of = np.minimum((probability * bins).astype(int), bins - 1)
    parts: Floats = np.sign(np.bincount(bin_of, gap, bins))[bin_of] * gap
    return parts


def scores(label: Labels, probability: Floats, cost: Cost) -> dict[str, float]:
    """The figures of reports/metrics.json, rounded to what 50,000 entities can tell."""
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
    """The chance that a label entity has a higher probability than one on time; for entities of both kinds."""
    return float(roc_auc_score(label, probability))


def expected_auc(probability: Floats) -> float:
    """The AUC that probabilities have where they are exactly right.

    It is lower in an easy season, in which most entities are as likely to be label as the next one.
    """
    place = np.unique(probability, return_inverse=True)[1]
    label, on_time = np.bincount(place, probability), np.bincount(place, 1 - probability)
    below = np.cumsum(on_time) - on_time
    return float(label @ (below + on_time / 2) / (label.sum() * on_time.sum()))


def expected_loss(probability: Floats) -> float:
    """The mean log-loss of probabilities that are exactly right: their entropy."""
    inside = np.clip(probability, 1e-15, 1 - 1e-15)
    return float(-(inside * np.log(inside) + (1 - inside) * np.log(1 - inside)).mean())


def refuse_leak(name: str, auc: float, limit: float) -> None:
    """Raise LeakSuspected on a score that nothing known at the prediction moment can reach."""
    if auc > limit:
        raise LeakSuspected(
            f"{name}: test AUC {auc:.3f} is above evaluate.leak_auc {limit}: a feature knows what happened later. "
            "Look at the newest features and at their known_at."
        )


def by_days(value: float, influence: Floats, days: NDArray[np.datetime64]) -> Estimate | None:
    """A figure with its interval by days; None for fewer than two days.

    `influence` has one number for each entity: how far it pulls the figure away from its value, on average zero. For a
    mean that is the entity's own value less the mean.
    """
    sums = np.bincount(pd.factorize(days)[0], influence)
    count = len(sums)
    if count < FEWEST_DAYS:
        return None
    error = float(np.sqrt(count / (count - 1) * np.sum(sums**2)) / len(influence))
    return _estimate(value, error, count)


def _estimate(value: float, error: float, days: int) -> Estimate:
    reach = float(stdtrit(days - 1, (1 + LEVEL) / 2)) * error
    return Estimate(value, error, value - reach, value + reach, days)


def mean_interval(values: Floats, days: NDArray[np.datetime64]) -> Estimate | None:
    """The mean of one value for each entity, by days; None for fewer than two days."""
    mean = float(values.mean())
    return by_days(mean, values - mean, days)


def mean_intervals(values: Floats, groups: pd.Series, days: NDArray[np.datetime64]) -> dict[str, Estimate]:
    """`mean_interval` of every group of entities at once, by the group's name; without those of fewer than two days."""
    codes, names = pd.factorize(groups)
    day, unique_days = pd.factorize(days)
    shape = len(names), len(unique_days)
    cell = codes * shape[1] + day
    entities = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    totals = np.bincount(cell, values, shape[0] * shape[1]).reshape(shape)
    size, count = entities.sum(axis=1), (entities > 0).sum(axis=1)
    means = totals.sum(axis=1) / size
    squares = ((totals - means[:, None] * entities) ** 2).sum(axis=1)
    found = {}
    for name, mean, square, entities_of, days_of in zip(names, means, squares, size, count, strict=True):
        if days_of >= FEWEST_DAYS:
            error = float(np.sqrt(days_of / (days_of - 1) * square) / entities_of)
            found[str(name)] = _estimate(float(mean), error, int(days_of))
    return found


def paired_difference(
    label: Labels, challenger: Floats, champion: Floats, days: NDArray[np.datetime64]
) -> Estimate | None:
    """Log-loss of the challenger less the champion's on the same entities: below zero, the challenger is better."""
    return mean_interval(losses(label, challenger) - losses(label, champion), days)


def auc_interval(label: Labels, probability: Floats, days: NDArray[np.datetime64]) -> Interval | None:
    """95 % interval by days of the AUC; None for fewer than two days, or where all entities are label, or none.

    What an entity adds to the AUC is the share of the other class that it is told apart from (DeLong et al. 1988),
    summed by day as Obuchowski (1997) does for patients with several lesions.
    """
    ordered_on_time, ordered_late = np.sort(probability[~label]), np.sort(probability[label])
    if not len(ordered_on_time) or not len(ordered_late):
        return None
    below = _share_below(ordered_on_time, probability[label])
    above = 1 - _share_below(ordered_late, probability[~label])
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
    """For each value, the share of `ordered` that lies below it; ties count half."""
    left, right = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    share: Floats = (left + right) / (2 * len(ordered))
    return share


def intervals(label: Labels, probability: Floats, days: NDArray[np.datetime64], cost: Cost) -> Mapping[str, Interval]:
    """95 % intervals by days of the figures that a reader compares; empty for fewer than two days."""
    alert = probability >= cost.alert_threshold
    paid = 1000.0 * (cost.missed * (label & ~alert) + cost.false_alarm * (~label & alert))
    log_loss, costs = mean_interval(losses(label, probability), days), mean_interval(paid, days)
    found = {
        "auc": auc_interval(label, probability, days),
        "log_loss": log_loss and log_loss.interval,
        "cost_per_1000": costs and costs.interval,
    }
    return {name: interval for name, interval in found.items() if interval}
