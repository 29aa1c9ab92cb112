"""The effect of separate alert thresholds that equalise the error rates of slices, and their total cost.

Shown in the model card, not enforced; the card gives the reasons.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import evaluation, slices
from ontime.params import Cost, Params

Labels = NDArray[np.bool_]
Floats = NDArray[np.float64]


def entity_costs_per_1000(label: Labels, probability: Floats, cost: Cost, threshold: float | Floats) -> Floats:
    """Each entity's cost times 1,000 when alerting from a threshold on; their mean is `evaluation.cost_per_1000`."""
    alert = probability >= threshold
    costs: Floats = 1000.0 * (cost.missed * (label & ~alert) + cost.false_alarm * (~label & alert))
    return costs


def equalised(
    label: Labels, probability: Floats, days: NDArray[np.datetime64], dimensions: pd.DataFrame, params: Params
) -> list[dict[str, Any]]:
    """For each dimension: thresholds with which every slice misses the same share of its positive rows.

    Equality of opportunity (Hardt, Price & Srebro 2016). Slices too small to judge keep the declared threshold. The
    thresholds are chosen on the entities on which they are scored: on later ones the errors would be less equal.
    """
    declared = params.cost.alert_threshold
    missed = float((probability[label] < declared).mean())
    rows = []
    for dimension in dimensions:
        slice_of = pd.factorize(dimensions[dimension])[0]
        judged = [each for each in np.unique(slice_of) if _is_judged(label[slice_of == each], params)]
        thresholds = np.full(len(label), declared)
        for each in judged:
            thresholds[slice_of == each] = np.quantile(probability[label & (slice_of == each)], missed)
        common, separate = (probability >= threshold for threshold in (declared, thresholds))
        costs = [
            entity_costs_per_1000(label, probability, params.cost, threshold) for threshold in (declared, thresholds)
        ]
        difference = evaluation.mean_interval(costs[1] - costs[0], days)
        rows.append(
            {
                "dimension": dimension,
                "slices": len(judged),
                "missed": [_range(~alert[label], slice_of[label], judged) for alert in (common, separate)],
                "false_alarms": [_range(alert[~label], slice_of[~label], judged) for alert in (common, separate)],
                "thresholds": _ends([float(thresholds[slice_of == each][0]) for each in judged]),
                "cost_per_1000": round(float(costs[1].mean()), 1),
                "cost_more": difference
                and [round(each, 1) for each in (difference.value, difference.low, difference.high)],
            }
        )
    return rows


def _is_judged(label: Labels, params: Params) -> bool:
    return slices.gated(len(label), int(label.sum()), params.evaluate)


def _range(wrong: Labels, slice_of: NDArray[np.intp], judged: list[int]) -> list[float] | None:
    """The lowest and the highest share of `wrong` among the slices."""
    return _ends([float(wrong[slice_of == each].mean()) for each in judged])


def _ends(values: list[float]) -> list[float] | None:
    return [round(min(values), 4), round(max(values), 4)] if values else None
