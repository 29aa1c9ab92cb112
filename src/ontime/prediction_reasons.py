"""The reasons of a prediction: the features that moved its probability most, in words and numbers."""

from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ontime import explain, schema
from ontime.declaration import EntityRequest
from ontime.problem import PROBLEM
from ontime.release import Release

MAX_REASONS = 6
POSITION = {name: place for place, name in enumerate(schema.FEATURE_NAMES)}
REQUEST_POSITIONS = [POSITION[name] for name in schema.REQUEST]
ONLINE_POSITIONS = [POSITION[name] for name in schema.ONLINE]
MIN_PROBABILITY = 1e-6
NO_EXPLAINER = "this release has no explainer"


def reasons_of(entity: EntityRequest, row: NDArray[np.float32], release: Release) -> dict[str, Any]:
    """The features that moved this probability most, with the fields of one of `responses.Reasons`.

    Contributions are relative to the base rate. The explainer's own base value differs slightly from it; `others`
    includes the difference. Without a row in the online store only features of the request are listed; `others`
    includes the missing ones.
    """
    if release.explainer is None:
        method = release.manifest.reasons
        return {"method": "none", "why": NO_EXPLAINER if method is None else method.about}
    explanation = explain.explain(release.explainer, row)
    question = release.manifest.question
    scale = explanation.scale  # also part of the field names, so that each number has its unit in its name
    base = log_odds(release.manifest.base_rate) if scale == "log_odds" else release.manifest.base_rate
    candidates = np.array(REQUEST_POSITIONS if np.isnan(row[ONLINE_POSITIONS]).all() else range(len(row)))
    order = np.argsort(-np.abs(explanation.contributions[candidates]), kind="stable")
    largest = candidates[order[:MAX_REASONS]]
    return {
        "method": release.explainer.method,
        "scale": scale,
        f"base_{scale}": base,
        scale: explanation.total,
        "features": [
            {
                "feature": (name := schema.FEATURE_NAMES[place]),
                "words": PROBLEM.reason(
                    name, _decoded(name, float(row[place]), release), entity, release.manifest.names, question
                ),
                "effect": "raises" if explanation.contributions[place] > 0 else "lowers",
                scale: float(explanation.contributions[place]),
            }
            for place in largest.tolist()
            if explanation.contributions[place] != 0
        ],
        f"others_{scale}": float(explanation.total - base - explanation.contributions[largest].sum()),
    }


def _decoded(name: str, value: float, release: Release) -> float | str:
    """A numeric feature unchanged; a category as its text."""
    return value if name not in schema.CATEGORICAL or np.isnan(value) else release.manifest.categories[name][int(value)]


def log_odds(probability: float) -> float:
    """Finite also for 0 and 1.

    >>> log_odds(0.5)
    0.0
    >>> round(log_odds(1.0), 1)
    13.8
    """
    clipped = min(max(probability, MIN_PROBABILITY), 1 - MIN_PROBABILITY)
    return log(clipped / (1 - clipped))
