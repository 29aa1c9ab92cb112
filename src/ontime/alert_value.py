"""What alerts cost and save: without a model, with the baseline, and with each thing that a model gained.

Costs are for 1,000 entities. A probability of 0 for all stands for no alerts, a probability of 1 for an alert always.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ontime import evaluation, feature_worth
from ontime.fairness import entity_costs_per_1000
from ontime.feature_worth import SEEDS, STANDARD_ERRORS
from ontime.params import Cost

Labels = NDArray[np.bool_]
Floats = NDArray[np.float64]
Days = NDArray[np.datetime64]

RATIOS = range(1, 11)  # of the cost of a missed entity to that of a false alarm
THRESHOLDS = np.arange(1, 100) / 100
NO_ALERTS, ALERT_ALWAYS = "no alerts", "alert always"


class ValueStep(NamedTuple):
    name: str
    words: str
    probabilities: Floats  # of shape (seeds, entities)


def break_even(cost: Cost) -> float:
    """The probability at which an alert costs as much as it saves.

    >>> break_even(Cost(missed=3, false_alarm=1, alert_threshold=0.5))
    0.25
    """
    return cost.false_alarm / (cost.false_alarm + cost.missed)


def step_rows(label: Labels, days: Days, steps: Sequence[ValueStep], cost: Cost) -> list[dict[str, Any]]:
    """Each step's errors and cost, means over seeds, and what it saves against the step before it.

    A step is within noise below twice the standard error of a usual step too, because the seeds of one step may agree
    by chance. Raises Refusal if the entities are of a single day.
    """
    costs = [_costs(label, step, cost) for step in steps]
    saved = [before - after for before, after in pairwise(costs)]
    deviation = np.sqrt(np.mean([each.mean(axis=1).var(ddof=1) for each in saved]))
    least = STANDARD_ERRORS * float(deviation) / float(np.sqrt(SEEDS))
    worths = [None, *(_worth(each, days, least) for each in saved)]
    return [
        {"name": step.name, "words": step.words, **_errors(label, step, cost), "saved": worth}
        for step, worth in zip(steps, worths, strict=True)
    ]


def saving(label: Labels, days: Days, before: ValueStep, after: ValueStep, cost: Cost) -> dict[str, Any]:
    """What the step `after` saves against `before`. Raises Refusal if the entities are of a single day."""
    return _worth(_costs(label, before, cost) - _costs(label, after, cost), days, 0.0)


def _costs(label: Labels, step: ValueStep, cost: Cost) -> Floats:
    return np.stack([entity_costs_per_1000(label, each, cost, cost.alert_threshold) for each in step.probabilities])


def _worth(saved: Floats, days: Days, least: float) -> dict[str, Any]:
    worth = feature_worth.mean_worth(saved, days, least)
    numbers = {name: round(each, 2) for name, each in worth._asdict().items() if name != "verdict"}
    return {**numbers, "verdict": str(worth.verdict)}


def _errors(label: Labels, step: ValueStep, cost: Cost) -> dict[str, float]:
    scores = feature_worth.mean_scores(label, step.probabilities, cost)
    return {name: round(value, 2) for name, value in scores.items() if name.endswith("_per_1000")}


def cheapest_threshold(label: Labels, probability: Floats, cost: Cost) -> tuple[float, float]:
    """The threshold, the declared one or one of THRESHOLDS, that costs least on these entities, and that cost."""
    costs = {
        threshold: evaluation.cost_per_1000(label, probability, cost, threshold)
        for threshold in (cost.alert_threshold, *THRESHOLDS.tolist())
    }
    cheapest = min(costs, key=lambda threshold: costs[threshold])
    return round(cheapest, 4), round(costs[cheapest], 2)


def ratio_rows(label: Labels, days: Days, probabilities: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """For each of RATIOS, the cost in false alarms of alerts from the break-even point on, by each probability.

    The last one of `probabilities` is the model, which is compared with the cheapest of the others.
    """
    choices = {NO_ALERTS: np.zeros(len(label)), ALERT_ALWAYS: np.ones(len(label)), **probabilities}
    return [_ratio_row(label, days, choices, float(ratio)) for ratio in RATIOS]


def _ratio_row(label: Labels, days: Days, choices: Mapping[str, Floats], ratio: float) -> dict[str, Any]:
    threshold = 1 / (1 + ratio)
    cost = Cost(missed=ratio, false_alarm=1.0, alert_threshold=threshold)
    costs = {name: entity_costs_per_1000(label, each, cost, threshold) for name, each in choices.items()}
    means = {name: float(each.mean()) for name, each in costs.items()}
    *others, ours = means
    cheapest = min(others, key=lambda name: means[name])
    saved = feature_worth.interval_by_days(costs[cheapest] - costs[ours], days)
    best_threshold, best_cost = cheapest_threshold(label, choices[ours], cost)
    return {
        "ratio": int(ratio),
        "threshold": round(threshold, 4),
        "costs": {name: round(mean, 2) for name, mean in means.items()},
        "cheapest_other": cheapest,
        "saved": {name: round(getattr(saved, name), 2) for name in ("value", "low", "high")},
        "best_threshold": best_threshold,
        "best_threshold_cost": best_cost,
    }
