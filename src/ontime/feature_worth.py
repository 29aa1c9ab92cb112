"""How much two sets of features differ, when each is fitted with several seeds and judged on the same entities.

Two noises hide a difference. Other days would have given another one: the interval by days. Another seed would have
given another model of the same features: the deviation over seeds. The interval alone calls one of two equal models
better than the other, because both keep their luck on all days.
"""

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ontime import evaluation
from ontime.params import Cost
from ontime.refusal import Refusal

Labels = NDArray[np.bool_]
Floats = NDArray[np.float64]

SEEDS = 3
STANDARD_ERRORS = 2  # over seeds: a smaller difference may be the luck of the seeds
# The log-loss that one fit with another seed may win or lose. Three seeds give the standard error two degrees of
# freedom only, so it is sometimes far too small by chance; this limit is not.
ONE_SEED = 0.0015


class WorthVerdict(StrEnum):
    WORTH = "worth it"
    NOISE = "within noise"
    WORSE = "worse"


class Worth(NamedTuple):
    """The log-loss or cost without something, minus that with it: above zero, it is worth having."""

    value: float
    low: float  # of the 95 % interval by days
    high: float
    seed_deviation: float  # standard deviation of the value of one seed
    verdict: WorthVerdict


def least_difference(seeds: int) -> float:
    """A mean difference over this many seeds counts as nothing below it."""
    return ONE_SEED / float(np.sqrt(seeds))


def verdict_on(value: float, low: float, high: float, seed_deviation: float, seeds: int, least: float) -> WorthVerdict:
    """Whether a difference is at least `least` and exceeds both noises: that of the days and that of the seeds.

    >>> str(verdict_on(0.002, low=0.001, high=0.003, seed_deviation=0.0007, seeds=3, least=0.0009))
    'worth it'
    """
    noise = max(STANDARD_ERRORS * seed_deviation / float(np.sqrt(seeds)), least)
    if low <= 0 <= high or abs(value) < noise:
        return WorthVerdict.NOISE
    return WorthVerdict.WORTH if value > 0 else WorthVerdict.WORSE


def worth(label: Labels, having: Floats, lacking: Floats, days: NDArray[np.datetime64]) -> Worth:
    """The worth of what one set of features has and the other lacks, from probabilities of shape (seeds, entities).

    Both sets were fitted with the same seeds. Raises Refusal if the entities are of a single day.
    """
    saved = np.stack([evaluation.losses(label, each) for each in lacking])
    saved -= np.stack([evaluation.losses(label, each) for each in having])
    return mean_worth(saved, days, least_difference(len(saved)))


def interval_by_days(values: Floats, days: NDArray[np.datetime64]) -> evaluation.Estimate:
    """The mean with its 95 % interval by days. Raises Refusal if the entities are of a single day."""
    estimate = evaluation.mean_interval(values, days)
    if estimate is None:
        raise Refusal(
            "the entities are of one day, so no interval by days can be computed: change split in params.yaml"
        )
    return estimate


def mean_worth(saved: Floats, days: NDArray[np.datetime64], least: float) -> Worth:
    """The mean of what each entity saves with each seed, shape (seeds, entities), with both noises.

    Raises Refusal if the entities are of a single day.
    """
    estimate = interval_by_days(saved.mean(axis=0), days)
    deviation = float(saved.mean(axis=1).std(ddof=1))
    verdict = verdict_on(estimate.value, estimate.low, estimate.high, deviation, len(saved), least)
    return Worth(estimate.value, estimate.low, estimate.high, deviation, verdict)


def mean_scores(label: Labels, probabilities: Floats, cost: Cost) -> dict[str, float]:
    """The scores of probabilities of shape (seeds, entities): the means over seeds."""
    by_seed = [_scores(label, each, cost) for each in probabilities]
    return {name: float(np.mean([scores[name] for scores in by_seed])) for name in by_seed[0]}


def _scores(label: Labels, probability: Floats, cost: Cost) -> dict[str, float]:
    alert = probability >= cost.alert_threshold
    return {
        "log_loss": float(evaluation.losses(label, probability).mean()),
        "auc": evaluation.auc(label, probability),
        "cost_per_1000": evaluation.cost_per_1000(label, probability, cost),
        "false_alarms_per_1000": 1000 * float((~label & alert).mean()),
        "missed_per_1000": 1000 * float((label & ~alert).mean()),
        "mean_probability": float(probability.mean()),
    }
