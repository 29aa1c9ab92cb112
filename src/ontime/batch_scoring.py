"""Scores many entities at once with the service's code for request, features, model, flags and reasons."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from ontime import online, online_store
from ontime.declaration import EntityRequest, Question
from ontime.online_store import Stored
from ontime.prediction_reasons import reasons_of
from ontime.problem import PROBLEM
from ontime.release import Release

FIELDS = tuple(PROBLEM.request.model_fields)
REQUIRED = tuple(name for name, field in PROBLEM.request.model_fields.items() if field.is_required())
LOOKED_UP_AT_ONCE = 5_000  # databases limit the parameters of a query
MAX_SHOWN_CHARACTERS = 80
# Not `\d`, which also matches the digits of other scripts.
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
INTEGER = re.compile(r"-?[0-9]{1,18}")
BOOLEANS = {"true": True, "false": False}

LookUp = Callable[[Sequence[EntityRequest]], Mapping[str, Stored]]
_REQUEST: TypeAdapter[EntityRequest] = TypeAdapter(PROBLEM.request)
_REQUESTS: TypeAdapter[list[EntityRequest]] = TypeAdapter(list[PROBLEM.request])  # type: ignore[name-defined]  # known at run time only


class Rejected(NamedTuple):
    """An invalid record: its position among the records, and its first error."""

    place: int
    field: str
    reason: str
    value: str


class Scored(NamedTuple):
    """One item for each entity. `matrix` is the model's input, float32 [entities, features]."""

    entities: Sequence[EntityRequest]
    entity_ids: Sequence[str]
    stored: Sequence[Stored | None]
    matrix: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    flags: Sequence[list[str]]


def requests_of(records: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[EntityRequest], list[Rejected]]:
    """The positions of the valid records, their requests, and the rejected records; as strict as the service."""
    try:  # all at once is twice as fast
        return [*range(len(records))], _REQUESTS.validate_python(records), []
    except ValidationError:
        pass
    places: list[int] = []
    requests: list[EntityRequest] = []
    rejected: list[Rejected] = []
    for place, record in enumerate(records):
        try:
            requests.append(_REQUEST.validate_python(record))
            places.append(place)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field, value = ".".join(map(str, first["loc"])), repr(first["input"])
            reason = first["msg"].removeprefix("Value error, ")
            shown = value if len(value) <= MAX_SHOWN_CHARACTERS else f"{value[:MAX_SHOWN_CHARACTERS]}..."
            rejected.append(Rejected(place, field, reason, shown))
    return places, requests, rejected


def value_of_text(kind: type, text: str) -> Any:
    """A cell of a csv file as the type of its field; None if it is empty. Other text stays, for the error message.

    >>> value_of_text(int, "1400"), value_of_text(float, "2.5"), value_of_text(bool, "true"), value_of_text(str, "")
    (1400, 2.5, True, None)
    >>> value_of_text(int, "14,00"), value_of_text(int, "\u0661\u0664")
    ('14,00', '١٤')
    """
    if not text:
        return None
    if kind is int and INTEGER.fullmatch(text):
        return int(text)
    if kind is float and NUMBER.fullmatch(text):
        return float(text)
    return BOOLEANS.get(text.lower(), text) if kind is bool else text


def from_online_store(engine: sa.Engine, question: Question) -> LookUp:
    """Looks features up as the service does."""

    def look_up(entities: Sequence[EntityRequest]) -> dict[str, Stored]:
        ids = [entity.entity_id for entity in entities]
        stored: dict[str, Stored] = {}
        for start in range(0, len(ids), LOOKED_UP_AT_ONCE):
            stored |= online_store.look_up_features(engine, question, ids[start : start + LOOKED_UP_AT_ONCE])
        return stored

    return look_up


def score_requests(release: Release, entities: Sequence[EntityRequest], look_up: LookUp) -> Scored:
    """Score all entities, which must not be empty, with one release."""
    ids = [entity.entity_id for entity in entities]
    rows = look_up(entities)
    stored = [rows.get(entity_id) for entity_id in ids]
    online_rows = [online.EMPTY_ROW if each is None else each.online for each in stored]
    matrix = online.request_matrix(entities, online_rows, release)
    flags = online.flags_of_all(entities, [None if each is None else each.online for each in stored], matrix)
    return Scored(entities, ids, stored, matrix, release.model.predict(matrix), flags)


def prediction_columns(scored: Scored, release: Release, *, with_reasons: bool = False) -> dict[str, Any]:
    """The fields of the service's predictions as columns, without `prediction_id`, which only logged ones have."""
    columns: dict[str, Any] = {
        "entity_id": scored.entity_ids,
        "probability": scored.probabilities,
        "alert": [probability >= release.manifest.threshold for probability in scored.probabilities.tolist()],
        "model_version": [release.manifest.version] * len(scored.entity_ids),
        "features": ["request" if each is None else "online" for each in scored.stored],
        "features_as_of": [_moment(each) for each in scored.stored],
        "flags": scored.flags,
    }
    if with_reasons:
        pairs = zip(scored.entities, scored.matrix, strict=True)
        columns["reasons"] = [reasons_of(entity, row, release) for entity, row in pairs]
    return columns


def _moment(stored: Stored | None) -> datetime | None:
    return None if stored is None else stored.moment
