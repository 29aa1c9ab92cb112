"""What one answer leaves open: the set of labels that cannot be ruled out for an entity, by conformal prediction.

The library is crepes. Each label in each group is calibrated by itself (Mondrian: Vovk, Gammerman & Shafer 2005,
"Algorithmic Learning in a Random World", section 4.5). The sets hold as often as asked if calibration entities and
later ones are exchangeable, which weather and seasons are not: `coverage` measures it.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import slices

CONFIDENCE = 0.9  # of positive rows, and of negative ones, so many shall have their label in their set
Labels = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Answered(NamedTuple):
    """The probability of each entity, and the group within which its set is calibrated."""

    probability: Floats
    group: NDArray[np.str_]


class Sets(NamedTuple):
    """For each entity, which labels stay possible: one, both ("cannot say") or neither."""

    negative: Labels
    positive: Labels


def prediction_sets(calibration: Answered, calibration_label: Labels, asked: Answered) -> Sets:
    """The sets of `asked`. A label of which a group has no calibration entity is never ruled out."""
    from crepes import ConformalClassifier  # here, because a retraining writes its card without sets

    possible = []
    for label in (False, True):
        of_label = calibration_label == label
        strangeness = [1 - each.probability if label else each.probability for each in (calibration, asked)]
        conformal = ConformalClassifier().fit(strangeness[0][of_label], bins=calibration.group[of_label])
        # Without smoothing no random number is drawn, and ties stay in the set.
        p_values = conformal.predict_p(strangeness[1][:, np.newaxis], bins=asked.group, smoothing=False)
        possible.append(p_values[:, 0] > 1 - CONFIDENCE)
    return Sets(*possible)


def control(entities: Answered, label: Labels, days: NDArray[np.datetime64]) -> list[dict[str, Any]]:
    """The coverage that entities of one season give: every other day calibrates, the days between are tested."""
    odd = np.unique(days, return_inverse=True)[1] % 2 == 1
    calibration, asked = (Answered(entities.probability[each], entities.group[each]) for each in (~odd, odd))
    sets = prediction_sets(calibration, label[~odd], asked)
    return coverage(label[odd], sets, days[odd], pd.DataFrame({"control": np.full(int(odd.sum()), "days between")}))


def coverage(label: Labels, sets: Sets, days: NDArray[np.datetime64], cuts: pd.DataFrame) -> list[dict[str, Any]]:
    """For each slice: how often the set held what happened, with 95 % intervals by days, and how often it held both."""
    rows = []
    for cut in cuts:
        groups = pd.Series(np.arange(len(label))).groupby(cuts[cut].to_numpy())
        for name, members in sorted(groups, key=lambda group: slices.order(str(group[0]))):
            chosen = members.to_numpy()
            positive, negative = chosen[label[chosen]], chosen[~label[chosen]]
            rows.append(
                {
                    "cut": cut,
                    "slice": str(name),
                    "entities": len(chosen),
                    "positive_covered": slices.share(sets.positive[positive], days[positive]),
                    "negative_covered": slices.share(sets.negative[negative], days[negative]),
                    "both": round(float((sets.positive & sets.negative)[chosen].mean()), 4),
                }
            )
    return rows
