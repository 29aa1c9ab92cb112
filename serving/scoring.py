"""Scores a batch: model input, probabilities, the fields of the response, and the rows of the prediction log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import log
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ontime import explain, online, schema
from ontime.database import new_prediction_id
from ontime.declaration import EntityRequest
from ontime.online_store import Stored
from ontime.problem import PROBLEM
from ontime.release import Release
from serving.model_store import LiveReleases

MAX_REASONS = 6
POSITION = {name: place for place, name in enumerate(schema.FEATURE_NAMES)}
REQUEST_POSITIONS = [POSITION[name] for name in schema.REQUEST]
ONLINE_POSITIONS = [POSITION[name] for name in schema.ONLINE]
CATEGORIES = [(name, POSITION[name]) for name in schema.CATEGORICAL]
MIN_PROBABILITY = 1e-6
NO_EXPLAINER = "this release has no explainer"


@dataclass(frozen=True)
class MicroBatch:
    """Entities that are scored together; `stored`: each one's row of the online store, None where it has none."""

    entities: Sequence[EntityRequest]
    ids: Sequence[str]
    stored: Sequence[Stored | None]


def score(batch: MicroBatch, live: LiveReleases) -> tuple[NDArray[np.float32], NDArray[np.float32], Sequence[Release]]:
    """Model input, probability and release of each entity: the champion's, except for the challenger's share."""
    places = range(len(batch.entities))
    challenger_places = [place for place in places if live.routes_to_challenger(batch.ids[place])]
    matrix, probabilities = run_model(batch, places, live.champion)
    releases = [live.champion] * len(places)
    if challenger_places and live.challenger is not None:
        probabilities = probabilities.copy()
        matrix[challenger_places], probabilities[challenger_places] = run_model(
            batch, challenger_places, live.challenger
        )
        for place in challenger_places:
            releases[place] = live.challenger
    return matrix, probabilities, releases


def run_model(
    batch: MicroBatch, places: Sequence[int], release: Release
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The model's input and its probabilities, for the entities at these places."""
    rows = [online.EMPTY_ROW if (stored := batch.stored[place]) is None else stored.online for place in places]
    matrix = online.request_matrix([batch.entities[place] for place in places], rows, release)
    return matrix, release.model.predict(matrix)


def predictions_of(
    batch: MicroBatch,
    matrix: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    releases: Sequence[Release],
) -> list[dict[str, Any]]:
    """One prediction per entity, with the fields of `responses.Prediction`.

    Dictionaries, because building the pydantic models would take too long; a test compares the fields.
    """
    predictions = []
    for entity, entity_id, stored, row, probability, release in zip(
        batch.entities, batch.ids, batch.stored, matrix, probabilities.tolist(), releases, strict=True
    ):
        manifest = release.manifest
        predictions.append(
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
    return predictions


def _flags(entity: EntityRequest, stored: Stored | None, row: NDArray[np.float32]) -> list[str]:
    """`row`: the model's input; a category is NaN in it if it is missing, or was not in the training data."""
    flags = ["request_only"] if stored is None and schema.ONLINE else []
    if not_encoded := [name for name, place in CATEGORIES if np.isnan(row[place])]:
        present = online.categories_present(entity, online.EMPTY_ROW if stored is None else stored.online)
        flags += [f"unknown_category:{name}" for name in not_encoded if name in present]
    return flags


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


def log_rows(
    predictions: Sequence[dict[str, Any]], matrix: NDArray[np.float32], arrivals: Sequence[float]
) -> list[dict[str, Any]]:
    """The rows of the table `predictions`."""
    now, clock = datetime.now(UTC), perf_counter()
    vectors = matrix.astype("<f4", copy=False)
    return [
        {
            "prediction_id": prediction["prediction_id"],
            "entity_id": prediction["entity_id"],
            "answered_at": now,
            "model_version": prediction["model_version"],
            "probability": prediction["probability"],
            "alert": prediction["alert"],
            "features": prediction["features"],
            "vector": vector.tobytes(),
            "latency_ms": 1000 * (clock - arrived_at),
        }
        for prediction, vector, arrived_at in zip(predictions, vectors, arrivals, strict=True)
    ]
