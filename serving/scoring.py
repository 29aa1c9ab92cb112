"""From probabilities to what the caller is told and what the database keeps."""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import log
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ontime import explain, online, schema
from ontime.database import Stored, new_prediction_id
from ontime.declaration import EntityRequest
from ontime.problem import PROBLEM
from ontime.release import Release

MOST_REASONS = 6
POSITION = {name: place for place, name in enumerate(schema.FEATURE_NAMES)}
REQUESTED = [POSITION[name] for name in schema.REQUEST]
ONLINE = [POSITION[name] for name in schema.ONLINE]
CATEGORIES = [(name, POSITION[name]) for name in schema.CATEGORICAL]
SMALLEST_SHARE = 1e-6
UNSTATED = "this release carries nothing that reasons could be computed from"


def answers_of(
    entities: Sequence[EntityRequest],
    ids: Sequence[str],
    found: Sequence[Stored | None],
    matrix: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    answering: Sequence[Release],
) -> list[dict[str, Any]]:
    """One answer an entity, with the fields of `answers.Prediction` (a test holds that; building it costs too much)."""
    answers = []
    for entity, entity_id, stored, row, probability, release in zip(
        entities, ids, found, matrix, probabilities.tolist(), answering, strict=True
    ):
        manifest = release.manifest
        answers.append(
            {
                "prediction_id": new_prediction_id(),
                "entity_id": entity_id,
                "probability": probability,
                "alert": probability >= manifest.threshold,
                "base_rate": manifest.base_rate,
                "model_version": manifest.version,
                "features": "request" if stored is None else "online",
                "features_as_of": None if stored is None else stored.moment,
                "flags": _flags(entity, stored, row),
                "reasons": None,
            }
        )
    return answers


def _flags(entity: EntityRequest, stored: Stored | None, row: NDArray[np.float32]) -> list[str]:
    """`row`: the model's input, in which a category is NaN that is missing, or that the model was not shown."""
    flags = ["request_only"] if stored is None and schema.ONLINE else []
    if uncoded := [name for name, place in CATEGORIES if np.isnan(row[place])]:
        told = online.categories_told(entity, online.NOTHING_KNOWN if stored is None else stored.online)
        flags += [f"unknown_category:{name}" for name in uncoded if name in told]
    return flags


def reasons_of(entity: EntityRequest, row: NDArray[np.float32], release: Release) -> dict[str, Any]:
    """What moved this probability most, with the fields of one of `answers.Reasons`.

    They start at the base rate. The mean of the model's answers is not quite that: the step to it is in the rest.
    Where nothing but the request is known, only that is a reason; what is not known is in the rest as well.
    """
    if release.explainer is None:
        stated = release.manifest.reasons
        return {"method": "none", "why": UNSTATED if stated is None else stated.about}
    told = explain.explain(release.explainer, row)
    question = release.manifest.question
    scale = told.scale  # the name of the fields as well: a number says by its name what it is
    usual = _log_odds(release.manifest.base_rate) if scale == "log_odds" else release.manifest.base_rate
    named = np.array(REQUESTED if np.isnan(row[ONLINE]).all() else range(len(row)))
    largest = named[np.argsort(-np.abs(told.contributions[named]), kind="stable")[:MOST_REASONS]]
    return {
        "method": release.explainer.method,
        "scale": scale,
        f"base_{scale}": usual,
        scale: told.total,
        "features": [
            {
                "feature": (name := schema.FEATURE_NAMES[place]),
                "words": PROBLEM.reason(
                    name, _value(name, float(row[place]), release), entity, release.manifest.names, question
                ),
                "effect": "raises" if told.contributions[place] > 0 else "lowers",
                scale: float(told.contributions[place]),
            }
            for place in largest.tolist()
            if told.contributions[place] != 0
        ],
        f"others_{scale}": float(told.total - usual - told.contributions[largest].sum()),
    }


def _value(name: str, coded: float, release: Release) -> float | str:
    """A number as it is, a category as text."""
    return coded if name not in schema.CATEGORICAL or np.isnan(coded) else release.manifest.categories[name][int(coded)]


def _log_odds(share: float) -> float:
    inside = min(max(share, SMALLEST_SHARE), 1 - SMALLEST_SHARE)
    return log(inside / (1 - inside))


def rows_of(
    answers: Sequence[dict[str, Any]], matrix: NDArray[np.float32], arrivals: Sequence[float]
) -> list[dict[str, Any]]:
    """The rows of the table `predictions`."""
    now, clock = datetime.now(UTC), perf_counter()
    vectors = matrix.astype("<f4", copy=False)
    return [
        {
            "prediction_id": answer["prediction_id"],
            "entity_id": answer["entity_id"],
            "answered_at": now,
            "model_version": answer["model_version"],
            "probability": answer["probability"],
            "alert": answer["alert"],
            "features": answer["features"],
            "vector": vector.tobytes(),
            "latency_ms": 1000 * (clock - arrived),
        }
        for answer, vector, arrived in zip(answers, vectors, arrivals, strict=True)
    ]
