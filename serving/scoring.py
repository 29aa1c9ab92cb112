"""From probabilities to what the caller is told and what the database keeps."""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import log
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ontime import explain, schema, words
from ontime.database import Stored, new_prediction_id
from ontime.release import Release
from ontime.schema import Flight

MOST_REASONS = 6
SMALLEST_SHARE = 1e-6
UNSTATED = "this release carries nothing that reasons could be computed from"


def answers_of(
    flights: Sequence[Flight],
    ids: Sequence[str],
    found: Sequence[Stored | None],
    probabilities: NDArray[np.float32],
    answering: Sequence[Release],
) -> list[dict[str, Any]]:
    """One answer a flight, with the fields of `answers.Prediction` (a test holds that; building it costs too much)."""
    answers = []
    for flight, flight_id, stored, probability, release in zip(
        flights, ids, found, probabilities.tolist(), answering, strict=True
    ):
        manifest = release.manifest
        answers.append(
            {
                "prediction_id": new_prediction_id(),
                "flight_id": flight_id,
                "probability_late": probability,
                "alert": probability >= manifest.threshold,
                "usual_rate": manifest.usual_rate,
                "model_version": manifest.version,
                "features": "schedule_only" if stored is None else "materialised",
                "features_as_of": None if stored is None else stored.moment,
                "flags": _flags(flight, stored, release),
                "reasons": None,
            }
        )
    return answers


def _flags(flight: Flight, stored: Stored | None, release: Release) -> list[str]:
    flags, categories = [], release.manifest.categories
    if stored is None:
        flags.append("schedule_only")
    if flight.carrier not in categories["carrier"]:
        flags.append("unknown_carrier")
    if flight.dest not in categories["dest"]:
        flags.append("unknown_dest")
    return flags


def reasons_of(flight: Flight, row: NDArray[np.float32], release: Release) -> dict[str, Any]:
    """What moved this probability most, with the fields of one of `answers.Reasons`.

    They start at the base rate. The mean of the model's answers is not quite that: the step to it is in the rest.
    Of a flight about which nothing is known only the timetable is a reason; what is not known is in the rest as well.
    """
    if release.explainer is None:
        stated = release.manifest.reasons
        return {"method": "none", "why": UNSTATED if stated is None else stated.about}
    told = explain.explain(release.explainer, row)
    scale = told.scale  # the name of the fields as well: a number says by its name what it is
    usual = _log_odds(release.manifest.usual_rate) if scale == "log_odds" else release.manifest.usual_rate
    named = len(schema.SCHEDULE) if np.isnan(row[len(schema.SCHEDULE) :]).all() else len(row)
    largest = np.argsort(-np.abs(told.contributions[:named]), kind="stable")[:MOST_REASONS]
    return {
        "method": release.explainer.method,
        "scale": scale,
        f"usual_{scale}": usual,
        scale: told.total,
        "features": [
            {
                "feature": (name := schema.FEATURE_NAMES[place]),
                "words": words.reason(name, float(row[place]), flight, release.manifest),
                "effect": "raises" if told.contributions[place] > 0 else "lowers",
                scale: float(told.contributions[place]),
            }
            for place in largest.tolist()
            if told.contributions[place] != 0
        ],
        f"others_{scale}": float(told.total - usual - told.contributions[largest].sum()),
    }


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
            "flight_id": answer["flight_id"],
            "answered_at": now,
            "model_version": answer["model_version"],
            "probability_late": answer["probability_late"],
            "alert": answer["alert"],
            "features": answer["features"],
            "vector": vector.tobytes(),
            "latency_ms": 1000 * (clock - arrived),
        }
        for answer, vector, arrived in zip(answers, vectors, arrivals, strict=True)
    ]
