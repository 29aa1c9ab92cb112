"""Microseconds, in one thread, for the parts of a request: read, scored, committed, explained, written."""

import re
import tempfile
import timeit
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
import orjson
from msgspec import Meta
from pydantic import TypeAdapter

from bench import entities
from bench.compare import VAR
from ontime import database
from ontime.online import request_matrix
from ontime.problem import PROBLEM
from ontime.request_fields import kind_of
from serving import scoring
from serving.responses import Prediction

REPEATS = 7
TOGETHER = 64


def _struct() -> type[msgspec.Struct]:
    """`PROBLEM.request` for msgspec, with its ranges and patterns. It tells of the first problem only, not of all."""
    fields = []
    for name, declared in PROBLEM.request.model_fields.items():
        limits = {
            each: getattr(part, each) for part in declared.metadata for each in ("ge", "le") if hasattr(part, each)
        }
        patterns = [part.pattern for part in declared.metadata if getattr(part, "pattern", None)]
        if patterns:  # Python's $ lets a last newline pass, pydantic's does not
            limits["pattern"] = re.sub(r"\$$", r"\\Z", patterns[0])
        kind = kind_of(declared.annotation)
        meta = Meta(tz=True) if kind is datetime else Meta(**limits) if limits else None
        fields.append((name, Annotated[kind, meta] if meta else kind))
    return msgspec.defstruct("RequestStruct", fields, frozen=True, forbid_unknown_fields=True)


def microseconds(call: Callable[[], object]) -> float:
    """Of one call: the best of some repeats, since whatever else runs can only add."""
    timer = timeit.Timer(call)
    calls, _ = timer.autorange()
    return 1e6 * min(timer.repeat(REPEATS, calls)) / calls


def validating() -> dict[str, float]:
    """One entity's body, to an entity that was checked."""
    body = entities.single(entities.spread(1))[0].encode()
    adapter, decoder = TypeAdapter(PROBLEM.request), msgspec.json.Decoder(_struct())
    ways: Mapping[str, Callable[[], Any]] = {
        "pydantic validate_json": lambda: adapter.validate_json(body),
        # Fair as it is: the times of a strict request are not strict, so text is as good for them here as in JSON.
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
    """What lies between the two, for an entity that was looked up: alone, and as one of many that share the work."""
    release, asked = entities.current_release(), entities.spread(TOGETHER)
    found = entities.stored(asked)
    vectors = [each.online for each in found]
    batch = scoring.MicroBatch(asked, [entity.entity_id for entity in asked], found)
    matrix = request_matrix(asked, vectors, release)
    answers = scoring.predictions_of(batch, matrix, release.model.predict(matrix), [release] * TOGETHER)
    if release.explainer is None:
        raise SystemExit("bench: this release gives no reasons")

    def score(count: int) -> Callable[[], Any]:
        return lambda: release.model.predict(request_matrix(asked[:count], vectors[:count], release))

    def commit(count: int) -> Callable[[], Any]:
        def insert() -> None:
            for answer in answers[:count]:
                answer["prediction_id"] = database.new_prediction_id()
            database.log_predictions(engine, scoring.log_rows(answers[:count], matrix[:count], [0.0] * count))

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
    asked, release = entities.spread(1), entities.current_release()
    found = entities.stored(asked)
    matrix = request_matrix(asked, [found[0].online], release)
    batch = scoring.MicroBatch(asked, [asked[0].entity_id], found)
    return scoring.predictions_of(batch, matrix, release.model.predict(matrix), [release])[0]
