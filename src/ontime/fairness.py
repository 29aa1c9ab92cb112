"""What one alert threshold for each slice would change: the errors made equal, and what that costs in all.

Shown in the model card, never enforced; the card says why.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import evaluation, slices
from ontime.params import Cost, Params

Labels = NDArray[np.bool_]
Floats = NDArray[np.float64]


def paid_per_1000(label: Labels, probability: Floats, cost: Cost, threshold: float | Floats) -> Floats:
    """What alerting from a threshold costs for each entity, times 1000: its mean is `evaluation.cost_per_1000`."""
    alert = probability >= threshold
    paid: Floats = 1000.0 * (cost.missed * (label & ~alert) + cost.false_alarm * (~label & alert))
    return paid


def equalised(
    label: Labels, probability: Floats, days: NDArray[np.datetime64], cuts: pd.DataFrame, params: Params
) -> list[dict[str, Any]]:
    """For each cut: thresholds by which every slice misses the same share of its positive rows as all entities do.

    Equality of opportunity (Hardt, Price & Srebro 2016). Slices too small to judge keep the declared threshold. The
    thresholds are chosen on the entities that they are scored on: on later ones the errors would be less equal.
    """
    declared = params.cost.alert_threshold
    missed = float((probability[label] < declared).mean())
    rows = []
    for cut in cuts:
        slice_of = pd.factorize(cuts[cut])[0]
        judged = [each for each in np.unique(slice_of) if _is_judged(label[slice_of == each], params)]
        thresholds = np.full(len(label), declared)
        for each in judged:
            thresholds[slice_of == each] = np.quantile(probability[label & (slice_of == each)], missed)
        one, own = (probability >= threshold for threshold in (declared, thresholds))
        paid = [paid_per_1000(label, probability, params.cost, threshold) for threshold in (declared, thresholds)]
        more = evaluation.mean_interval(paid[1] - paid[0], days)
        rows.append(
            {
                "cut": cut,
                "slices": len(judged),
                "missed": [_range(~alert[label], slice_of[label], judged) for alert in (one, own)],
                "false_alarms": [_range(alert[~label], slice_of[~label], judged) for alert in (one, own)],
                "thresholds": _ends([float(thresholds[slice_of == each][0]) for each in judged]),
                "cost_per_1000": round(float(paid[1].mean()), 1),
                "cost_more": more and [round(each, 1) for each in (more.value, more.low, more.high)],
            }
        )
    return rows


def _is_judged(label: Labels, params: Params) -> bool:
    return slices.gated(len(label), int(label.sum()), params.evaluate)


def _range(wrong: Labels, slice_of: NDArray[np.intp], judged: list[int]) -> list[float] | None:
    """The lowest and the highest share of `wrong` over the slices."""
    return _ends([float(wrong[slice_of == each].mean()) for each in judged])


def _ends(values: list[float]) -> list[float] | None:
    return [round(min(values), 4), round(max(values), 4)] if values else None
