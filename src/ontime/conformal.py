"""Conformal prediction: for each entity the set of labels that cannot be ruled out at a confidence level.

The library is crepes. Each label in each group is calibrated separately (Mondrian: Vovk, Gammerman & Shafer 2005,
"Algorithmic Learning in a Random World", section 4.5). The sets have the requested coverage if calibration and later
entities are exchangeable, which seasonal data are not: `coverage` measures it.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import slices

CONFIDENCE = 0.9  # required coverage, of positive rows and of negative rows
Labels = NDArray[np.bool_]
Floats = NDArray[np.float64]


class GroupedProbabilities(NamedTuple):
    """The probability of each entity, and the group within which its set is calibrated."""

    probability: Floats
    group: NDArray[np.str_]


class PredictionSets(NamedTuple):
    """For each entity, which labels are possible: one, both (undecided) or neither."""

    negative: Labels
    positive: Labels


def prediction_sets(
    calibration: GroupedProbabilities, calibration_label: Labels, test: GroupedProbabilities
) -> PredictionSets:
    """The sets of `test`. A label without calibration entities in a group is never ruled out."""
    from crepes import ConformalClassifier  # imported here: a retraining writes its card without sets

    possible = []
    for label in (False, True):
        of_label = calibration_label == label
        nonconformity = [1 - each.probability if label else each.probability for each in (calibration, test)]
        conformal = ConformalClassifier().fit(nonconformity[0][of_label], bins=calibration.group[of_label])
        # Without smoothing, no random number is drawn and ties stay in the set.
        p_values = conformal.predict_p(nonconformity[1][:, np.newaxis], bins=test.group, smoothing=False)
        possible.append(p_values[:, 0] > 1 - CONFIDENCE)
    return PredictionSets(*possible)


def control_coverage(
    entities: GroupedProbabilities, label: Labels, days: NDArray[np.datetime64]
) -> list[dict[str, Any]]:
    """The coverage within one season: every other day calibrates, and the days between are tested."""
    odd = np.unique(days, return_inverse=True)[1] % 2 == 1
    calibration, test = (GroupedProbabilities(entities.probability[each], entities.group[each]) for each in (~odd, odd))
    sets = prediction_sets(calibration, label[~odd], test)
    return coverage(label[odd], sets, days[odd], pd.DataFrame({"control": np.full(int(odd.sum()), "days between")}))


def coverage(
    label: Labels, sets: PredictionSets, days: NDArray[np.datetime64], dimensions: pd.DataFrame
) -> list[dict[str, Any]]:
    """For each slice: how often the set contains the label, with 95 % intervals by days, and how often both labels."""
    rows = []
    for dimension in dimensions:
        groups = pd.Series(np.arange(len(label))).groupby(dimensions[dimension].to_numpy())
        for name, members in sorted(groups, key=lambda group: slices.order(str(group[0]))):
            chosen = members.to_numpy()
            positive, negative = chosen[label[chosen]], chosen[~label[chosen]]
            rows.append(
                {
                    "dimension": dimension,
                    "slice": str(name),
                    "entities": len(chosen),
                    "positive_covered": slices.share_with_interval(sets.positive[positive], days[positive]),
                    "negative_covered": slices.share_with_interval(sets.negative[negative], days[negative]),
                    "both": round(float((sets.positive & sets.negative)[chosen].mean()), 4),
                }
            )
    return rows
