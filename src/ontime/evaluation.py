"""How good probabilities are, and how sure of it we can be: intervals come from resampling whole days.

Flights of one day share its weather; an interval over single flights is several times too narrow.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from ontime.params import Cost

Labels = NDArray[np.bool_]
Floats = NDArray[np.float64]

CALIBRATION_BINS = 15
LEVEL = 0.95
FEWEST_DAYS = 2  # an interval by days needs more than one


class LeakSuspected(ValueError):
    """A score too good to be honest."""


class Interval(NamedTuple):
    low: float
    high: float


def losses(late: Labels, probability: Floats) -> Floats:
    """The log-loss of each flight."""
    told = np.clip(np.where(late, probability, 1 - probability), 1e-15, 1)
    return -np.log(told)


def cost_per_1000(late: Labels, probability: Floats, cost: Cost, threshold: float | None = None) -> float:
    """What alerting at a threshold costs a thousand flights: missed delays and false alarms."""
    alert = probability >= (cost.alert_threshold if threshold is None else threshold)
    missed, false = (late & ~alert).mean(), (~late & alert).mean()
    return float(1000 * (cost.missed_delay * missed + cost.false_alarm * false))


def calibration(late: Labels, probability: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Mean prediction, observed rate and count of each equally wide bin that holds flights."""
    bins = np.minimum((probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    filled = counts > 0
    predicted = np.bincount(bins, probability, CALIBRATION_BINS)[filled] / counts[filled]
    observed = np.bincount(bins, late, CALIBRATION_BINS)[filled] / counts[filled]
    return predicted, observed, counts[filled]


def expected_calibration_error(late: Labels, probability: Floats) -> float:
    """Guo et al. 2017: the mean distance between what is said and what happens, weighted by flights."""
    predicted, observed, counts = calibration(late, probability)
    return float(np.average(np.abs(predicted - observed), weights=counts))


def scores(late: Labels, probability: Floats, cost: Cost) -> dict[str, float]:
    """The figures of reports/metrics.json, rounded to what 50,000 flights can tell."""
    exact = {
        "auc": roc_auc_score(late, probability),
        "average_precision": average_precision_score(late, probability),
        "brier": np.mean((probability - late) ** 2),
        "log_loss": losses(late, probability).mean(),
        "ece": expected_calibration_error(late, probability),
    }
    return {
        **{name: round(float(value), 4) for name, value in exact.items()},
        "cost_per_1000": round(cost_per_1000(late, probability, cost), 1),
    }


def refuse_leak(name: str, auc: float, limit: float) -> None:
    """Raise LeakSuspected on a score that nothing known at the prediction moment can reach."""
    if auc > limit:
        raise LeakSuspected(
            f"{name}: test AUC {auc:.3f} is above evaluate.leak_auc {limit}: a feature knows what happened later. "
            "Look at the newest features and at their known_at."
        )


def day_weights(days: NDArray[np.datetime64], rounds: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The index of each flight's day, and for each round how often each day was drawn: [rounds, days]."""
    names, index = np.unique(days, return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=rounds)
    return index.astype(np.int64), drawn.astype(np.int64)


def interval_of(samples: Floats) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return Interval(round(float(low), 4), round(float(high), 4))


def mean_by_days(values: Floats, index: NDArray[np.int64], drawn: NDArray[np.int64]) -> Floats:
    """The mean of `values` in each bootstrap round."""
    days = drawn.shape[1]
    sums, counts = np.bincount(index, values, days), np.bincount(index, minlength=days)
    means: Floats = (drawn @ sums) / (drawn @ counts)
    return means


def auc_by_days(late: Labels, probability: Floats, index: NDArray[np.int64], drawn: NDArray[np.int64]) -> Floats:
    """The AUC in each bootstrap round: sorted once, then each round only changes the weights."""
    order = np.argsort(probability, kind="stable")
    ordered, positive, day = probability[order], late[order], index[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    areas = []
    for weights in drawn:
        weight = weights[day]
        positives = np.concatenate([[0], np.cumsum(weight * positive)[last_of_tie]])
        negatives = np.concatenate([[0], np.cumsum(weight * ~positive)[last_of_tie]])
        # Trapezoids under the curve of (on-time passed, late passed): ties count half.
        below = np.sum(np.diff(negatives) * (positives[1:] + positives[:-1]) / 2)
        areas.append(1 - below / (positives[-1] * negatives[-1]))
    return np.array(areas)


def auc_interval(
    late: Labels, probability: Floats, days: NDArray[np.datetime64], rounds: int, seed: int
) -> Interval | None:
    """95 % interval by days of the AUC; None for too few days, or where a draw of days has nothing to tell apart."""
    if len(np.unique(days)) < FEWEST_DAYS:
        return None
    with np.errstate(invalid="ignore"):
        interval = interval_of(auc_by_days(late, probability, *day_weights(days, rounds, seed)))
    return None if np.isnan(interval.low) else interval


def intervals(
    late: Labels, probability: Floats, days: NDArray[np.datetime64], cost: Cost, rounds: int, seed: int
) -> Mapping[str, Interval]:
    """95 % intervals by days of the figures that a reader compares."""
    index, drawn = day_weights(days, rounds, seed)
    alert = probability >= cost.alert_threshold
    paid = 1000.0 * (cost.missed_delay * (late & ~alert) + cost.false_alarm * (~late & alert))
    return {
        "auc": interval_of(auc_by_days(late, probability, index, drawn)),
        "log_loss": interval_of(mean_by_days(losses(late, probability), index, drawn)),
        "cost_per_1000": interval_of(mean_by_days(paid, index, drawn)),
    }
