"""Microseconds, in one thread, for each part of a request: parse, score, commit, explain, serialise."""

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
from bench.server_comparison import VAR
from ontime import database
from ontime.online import request_matrix
from ontime.prediction_reasons import reasons_of
from ontime.problem import PROBLEM
from ontime.request_fields import kind_of
from serving import scoring
from serving.responses import Prediction

REPEATS = 7
BATCH_SIZE = 64


def _struct() -> type[msgspec.Struct]:
    """`PROBLEM.request` for msgspec, with its ranges and patterns. It reports the first error only, pydantic all."""
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
    """The time of one call: the minimum of some repeats, because other processes can only add to it."""
    timer = timeit.Timer(call)
    calls, _ = timer.autorange()
    return 1e6 * min(timer.repeat(REPEATS, calls)) / calls


def time_parsing() -> dict[str, float]:
    """From one request body to a validated entity."""
    body = entities.single(entities.evenly_spaced(1))[0].encode()
    adapter, decoder = TypeAdapter(PROBLEM.request), msgspec.json.Decoder(_struct())
    ways: Mapping[str, Callable[[], Any]] = {
        "pydantic validate_json": lambda: adapter.validate_json(body),
        # A fair comparison: datetimes of the strict request are parsed from text in both modes.
        "orjson, pydantic validate_python": lambda: adapter.validate_python(orjson.loads(body)),
        "msgspec": lambda: decoder.decode(body),
    }
    expected = adapter.validate_json(body).model_dump()
    for name, way in ways.items():
        read = way()
        if {field: getattr(read, field) for field in expected} != expected:
            raise SystemExit(f"bench: {name} parses {read} instead of {expected}")
    return {name: microseconds(way) for name, way in ways.items()}


def time_serialising() -> dict[str, float]:
    """From one response, as the batcher builds it, to a response body."""
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
            raise SystemExit(f"bench: {name} writes {written} instead of {built}")
    return {name: microseconds(way) for name, way in ways.items()}


def time_scoring() -> dict[str, float]:
    """From a validated entity to its response: alone, and as one of a batch."""
    release, requests = entities.current_release(), entities.evenly_spaced(BATCH_SIZE)
    stored = entities.stored(requests)
    vectors = [each.online for each in stored]
    batch = scoring.MicroBatch(requests, [entity.entity_id for entity in requests], stored)
    matrix = request_matrix(requests, vectors, release)
    answers = scoring.predictions_of(batch, matrix, release.model.predict(matrix), [release] * BATCH_SIZE)
    if release.explainer is None:
        raise SystemExit("bench: the current release has no explainer; promote a model that has one")

    def score(count: int) -> Callable[[], Any]:
        return lambda: release.model.predict(request_matrix(requests[:count], vectors[:count], release))

    def commit(count: int) -> Callable[[], Any]:
        def insert() -> None:
            for answer in answers[:count]:
                answer["prediction_id"] = database.new_prediction_ids(1)[0]
            database.log_predictions(engine, scoring.log_rows(answers[:count], matrix[:count], [0.0] * count))

        return insert

    with tempfile.TemporaryDirectory(prefix="bench-", dir=VAR) as folder:
        engine = database.connect(f"sqlite:///{folder}/ontime.db")
        times = {
            "scored alone": microseconds(score(1)),
            f"scored with {BATCH_SIZE}": microseconds(score(BATCH_SIZE)) / BATCH_SIZE,
            "committed alone": microseconds(commit(1)),
            f"committed with {BATCH_SIZE}": microseconds(commit(BATCH_SIZE)) / BATCH_SIZE,
            "explained (?explain=true)": microseconds(lambda: reasons_of(requests[0], matrix[0], release)),
        }
        engine.dispose()
    return times


def _answer() -> dict[str, Any]:
    requests, release = entities.evenly_spaced(1), entities.current_release()
    stored = entities.stored(requests)
    matrix = request_matrix(requests, [stored[0].online], release)
    batch = scoring.MicroBatch(requests, [requests[0].entity_id], stored)
    return scoring.predictions_of(batch, matrix, release.model.predict(matrix), [release])[0]
