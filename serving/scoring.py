"""From flights to answers: the timetable from the request, the rest from the online store, one run of the model."""

from collections.abc import Sequence
from datetime import UTC, datetime
from time import perf_counter
from uuid import uuid4
from zoneinfo import ZoneInfo

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from ontime import database, schedule, schema
from ontime.release import Release
from ontime.schema import Flight
from serving import examples
from serving.answers import Flag, Prediction

NEW_YORK = ZoneInfo(schema.CLOCK)
NOTHING_KNOWN = np.full(len(schema.MATERIALISED), np.nan, dtype=np.float32)


def _wall(moments: Sequence[datetime]) -> NDArray[np.datetime64]:
    return np.array([moment.astimezone(NEW_YORK).replace(tzinfo=None) for moment in moments], "datetime64[m]")


def matrix_of(
    flights: Sequence[Flight], stored: Sequence[NDArray[np.float32]], release: Release
) -> NDArray[np.float32]:
    """The model's input: what the timetable tells, computed as in training, beside what was materialised."""
    columns: dict[str, object] = {name: [getattr(flight, name) for flight in flights] for name in schema.CATEGORICAL}
    columns |= schedule.schedule_features(
        _wall([flight.scheduled_departure for flight in flights]),
        _wall([flight.scheduled_arrival for flight in flights]),
        np.array([flight.elapsed_minutes for flight in flights]),
        np.array([flight.distance_miles for flight in flights], dtype=np.float64),
    )
    columns |= dict(zip(schema.MATERIALISED, np.stack(stored).T, strict=True))
    return schedule.encode(columns, release.manifest.categories)  # type: ignore[arg-type]  # text and numbers side by side


def warm_up(release: Release) -> None:
    """Score one flight: the first run of the model, and above all of the holiday calendar, is the slowest."""
    flight = Flight.model_validate(examples.MORNING)
    release.model.predict(matrix_of([flight], [NOTHING_KNOWN], release))


def predict(flights: Sequence[Flight], release: Release, engine: sa.Engine, arrived: float) -> list[Prediction]:
    """The answers, in the flights' order; every one is in the database when this returns.

    `arrived` is when the request came, on the clock of `time.perf_counter`.
    """
    ids = [flight.id for flight in flights]
    found = database.look_up_features(engine, ids)
    stored = [found[each].vector if each in found else NOTHING_KNOWN for each in ids]
    matrix = matrix_of(flights, stored, release)
    probabilities = release.model.predict(matrix)
    answers = [
        _answer(flight, found.get(each), float(probability), release)
        for flight, each, probability in zip(flights, ids, probabilities, strict=True)
    ]
    _log(answers, matrix, arrived, engine)
    return answers


def _answer(flight: Flight, stored: database.Stored | None, probability: float, release: Release) -> Prediction:
    manifest = release.manifest
    unknown: dict[Flag, bool] = {
        "schedule_only": stored is None,
        "unknown_carrier": flight.carrier not in manifest.categories["carrier"],
        "unknown_dest": flight.dest not in manifest.categories["dest"],
    }
    return Prediction(
        prediction_id=uuid4().hex,
        flight_id=flight.id,
        probability_late=probability,
        alert=probability >= manifest.threshold,
        usual_rate=manifest.usual_rate,
        model_version=manifest.version,
        features="schedule_only" if stored is None else "materialised",
        features_as_of=None if stored is None else stored.moment,
        flags=tuple(flag for flag, raised in unknown.items() if raised),
    )


def _log(answers: Sequence[Prediction], matrix: NDArray[np.float32], arrived: float, engine: sa.Engine) -> None:
    now, latency_ms = datetime.now(UTC), 1000 * (perf_counter() - arrived)
    kept = {"prediction_id", "flight_id", "model_version", "probability_late", "alert", "features"}
    database.log_predictions(
        engine,
        [
            answer.model_dump(include=kept)
            | {"answered_at": now, "vector": vector.astype("<f4").tobytes(), "latency_ms": latency_ms}
            for answer, vector in zip(answers, matrix, strict=True)
        ],
    )
