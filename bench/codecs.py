"""Microseconds, in one thread, for the parts of a request: read, scored, committed, explained, written."""

import re
import tempfile
import timeit
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta
from pydantic import TypeAdapter

from bench import flights
from bench.compare import VAR
from ontime import database, schema
from ontime.online import matrix_of
from ontime.schema import Flight
from serving import scoring
from serving.answers import Prediction

REPEATS = 7
TOGETHER = 64

_NUMBER = Meta(ge=schema.FLIGHT_NUMBER[0], le=schema.FLIGHT_NUMBER[1])
_DISTANCE = Meta(ge=schema.DISTANCE_MILES[0], le=schema.DISTANCE_MILES[1])


def _code(pattern: str) -> Meta:
    return Meta(pattern=re.sub(r"\$$", r"\\Z", pattern))  # Python's $ lets a last newline pass, pydantic's does not


class FlightStruct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ontime.schema.Flight` for msgspec, with the same checks. It tells of the first problem only, not of all."""

    carrier: Annotated[str, _code(schema.CARRIER_PATTERN)]
    flight_number: Annotated[int, _NUMBER]
    origin: Literal["EWR", "JFK", "LGA"]
    dest: Annotated[str, _code(schema.AIRPORT_PATTERN)]
    scheduled_departure: Annotated[datetime, Meta(tz=True)]
    scheduled_arrival: Annotated[datetime, Meta(tz=True)]
    distance_miles: Annotated[int, _DISTANCE]

    def __post_init__(self) -> None:
        for moment in (self.scheduled_departure, self.scheduled_arrival):
            if moment.second or moment.microsecond or not 2000 <= moment.year < 2100:
                raise ValueError(f"{moment.isoformat()} is not a whole minute between 2000 and 2099")
        elapsed = (self.scheduled_arrival - self.scheduled_departure).total_seconds() / 60
        if not schema.ELAPSED_MINUTES[0] <= elapsed <= schema.ELAPSED_MINUTES[1]:
            raise ValueError(f"{elapsed:g} minutes after scheduled_departure")


def microseconds(call: Callable[[], object]) -> float:
    """Of one call: the best of some repeats, since whatever else runs can only add."""
    timer = timeit.Timer(call)
    calls, _ = timer.autorange()
    return 1e6 * min(timer.repeat(REPEATS, calls)) / calls


def validating() -> dict[str, float]:
    """One flight's body, to a flight that was checked."""
    body = flights.single(flights.spread(1))[0].encode()
    adapter, decoder = TypeAdapter(Flight), msgspec.json.Decoder(FlightStruct)
    ways: Mapping[str, Callable[[], Any]] = {
        "pydantic validate_json": lambda: adapter.validate_json(body),
        # Fair as it is: the times of a strict Flight are not strict, so text is as good for them here as in JSON.
        "orjson, pydantic validate_python": lambda: adapter.validate_python(orjson.loads(body)),
        "msgspec": lambda: decoder.decode(body),
    }
    wanted = adapter.validate_json(body).model_dump()
    for name, way in ways.items():
        read = way()
        if {field: getattr(read, field) for field in wanted} != wanted:
            raise SystemExit(f"bench: {name} reads {read}, not {wanted}")
    return {name: microseconds(way) for name, way in ways.items()}


def serialising() -> dict[str, float]:
    """One answer, as the desk makes it, to a body."""
    answer = _answer()
    built, encoder = Prediction(**answer), msgspec.json.Encoder()
    ways: Mapping[str, Callable[[], str | bytes]] = {
        "pydantic, model built and dumped": lambda: Prediction(**answer).model_dump_json(),
        "pydantic, built model dumped": built.model_dump_json,
        "orjson": lambda: orjson.dumps(answer),
        "msgspec": lambda: encoder.encode(answer),
    }
    for name, way in ways.items():
        if (written := Prediction.model_validate_json(way())) != built:
            raise SystemExit(f"bench: {name} writes {written}, not {built}")
    return {name: microseconds(way) for name, way in ways.items()}


def answering() -> dict[str, float]:
    """What lies between the two, for a flight that was looked up: alone, and as one of many that share the work."""
    release, asked = flights.current_release(), flights.spread(TOGETHER)
    found = flights.stored(asked)
    vectors, ids = [each.vector for each in found], [flight.id for flight in asked]
    matrix = matrix_of(asked, vectors, release)
    answers = scoring.answers_of(asked, ids, found, release.model.predict(matrix), [release] * TOGETHER)
    if release.explainer is None:
        raise SystemExit("bench: this release gives no reasons")

    def score(count: int) -> Callable[[], Any]:
        return lambda: release.model.predict(matrix_of(asked[:count], vectors[:count], release))

    def commit(count: int) -> Callable[[], Any]:
        def insert() -> None:
            for answer in answers[:count]:
                answer["prediction_id"] = database.new_prediction_id()
            database.log_predictions(engine, scoring.rows_of(answers[:count], matrix[:count], [0.0] * count))

        return insert

    with tempfile.TemporaryDirectory(prefix="bench-", dir=VAR) as folder:
        engine = database.connect(f"sqlite:///{folder}/ontime.db")
        told = {
            "scored alone": microseconds(score(1)),
            f"scored with {TOGETHER}": microseconds(score(TOGETHER)) / TOGETHER,
            "committed alone": microseconds(commit(1)),
            f"committed with {TOGETHER}": microseconds(commit(TOGETHER)) / TOGETHER,
            "explained (?explain=true)": microseconds(lambda: scoring.reasons_of(asked[0], matrix[0], release)),
        }
        engine.dispose()
    return told


def _answer() -> dict[str, Any]:
    asked, release = flights.spread(1), flights.current_release()
    found = flights.stored(asked)
    probabilities = release.model.predict(matrix_of(asked, [found[0].vector], release))
    return scoring.answers_of(asked, [asked[0].id], found, probabilities, [release])[0]
