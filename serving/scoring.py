"""Scores a batch: model input, probabilities, the fields of the response, and the rows of the prediction log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ontime import online
from ontime.database import new_prediction_ids
from ontime.declaration import EntityRequest
from ontime.live_releases import LiveReleases
from ontime.online_store import Stored
from ontime.release import Release


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
    online_rows = [None if stored is None else stored.online for stored in batch.stored]
    flags = online.flags_of_all(batch.entities, online_rows, matrix)
    prediction_ids = new_prediction_ids(len(batch.ids))
    for prediction_id, entity_id, stored, probability, release, own_flags in zip(
        prediction_ids, batch.ids, batch.stored, probabilities.tolist(), releases, flags, strict=True
    ):
        manifest = release.manifest
        predictions.append(
            {
                "prediction_id": prediction_id,
                "entity_id": entity_id,
                "probability": probability,
                "alert": probability >= manifest.threshold,
                "base_rate": manifest.base_rate,
                "model_version": manifest.version,
                "features": "request" if stored is None else "online",
                "features_as_of": None if stored is None else stored.moment,
                "flags": own_flags,
                "reasons": None,
            }
        )
    return predictions


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
