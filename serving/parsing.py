"""Reads and parses a request body: entities or outcomes, or errors with place and reason."""

import asyncio
import codecs
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request

from ontime import online_store
from ontime.declaration import EntityRequest, Question
from ontime.problem import PROBLEM
from ontime.schema import WORDS, Outcome
from serving.responses import ErrorDetail

MAX_ENTITIES = 1000
MAX_EXPLAINED_ENTITIES = 20
MAX_BODY_BYTES = 1_000_000
MAX_READ_BYTES = 64_000_000  # of a body that is too large: see `read_body`
MAX_SHOWN_CHARACTERS = 80
MAX_ERROR_DETAILS = 20
DUPLICATE = "is given more than once"


def _matching(pattern: str, description: str) -> BeforeValidator:
    """Accept only text in this format: pydantic also parses 1383609600 as a day, and 1_0 as ten."""

    def check(text: object) -> object:
        if not (isinstance(text, str) and re.fullmatch(pattern, text)):
            raise ValueError(f"is not {description}")
        return text

    return BeforeValidator(check)


Day = Annotated[date, _matching(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "a day, such as 2013-11-27")]
NaturalNumber = Annotated[int, _matching(r"[0-9]{1,9}", "a whole number, in digits")]
Integer = Annotated[int, _matching(r"-?[0-9]{1,18}", "a whole number, in digits")]  # fits into 64 bits

ENTITY = TypeAdapter(PROBLEM.request)
ENTITIES: TypeAdapter[list[EntityRequest]] = TypeAdapter(
    Annotated[list[PROBLEM.request], Field(min_length=1, max_length=MAX_ENTITIES)]  # type: ignore[name-defined,arg-type]  # known at run time only
)
OUTCOME = TypeAdapter(Outcome)
OUTCOMES = TypeAdapter(Annotated[list[Outcome], Field(min_length=1, max_length=MAX_ENTITIES)])


class RequestRejected(Exception):
    """The response to the request has this status and these errors."""

    def __init__(self, status: int, *details: ErrorDetail) -> None:
        super().__init__(status, details)
        self.status, self.details = status, details


async def read_body(request: Request) -> bytes:
    """The whole body. Raises RequestRejected if it is compressed, too large, or incomplete."""
    for name, value in request.scope["headers"]:
        if name == b"content-encoding" and value.lower() not in (b"", b"identity"):
            reason = "is not supported: send the body uncompressed"
            raise RequestRejected(
                415,
                ErrorDetail(place="header.content-encoding", reason=reason, got=_shortened(value.decode("latin-1"))),
            )
    body, read_bytes = bytearray(), 0
    try:
        async for chunk in request.stream():
            if len(body) <= MAX_BODY_BYTES:
                body += chunk
            # A client does not read the response while it is sending: the rest of a large body is read and discarded.
            read_bytes += len(chunk)
            if read_bytes > MAX_READ_BYTES:
                break
    except ClientDisconnect:
        raise RequestRejected(422, ErrorDetail(place="body", reason="is incomplete")) from None
    except asyncio.CancelledError:
        # The timeout expired before the whole body arrived: `timeout` turns this into a TimeoutError.
        request.state.body_timed_out = True
        raise
    if len(body) > MAX_BODY_BYTES:
        raise RequestRejected(413, ErrorDetail(place="body", reason=f"more than {MAX_BODY_BYTES} bytes"))
    return bytes(body).removeprefix(codecs.BOM_UTF8)  # Windows writes a byte order mark; RFC 8259 lets us ignore it


def parse_entities(body: bytes, explain: bool) -> tuple[list[EntityRequest], bool]:
    """The entities of a body, and whether it is a list. Raises RequestRejected with status 422."""
    entities, is_list = _parse(body, ENTITY, ENTITIES, "entity", "entities")
    if explain and len(entities) > MAX_EXPLAINED_ENTITIES:
        raise RequestRejected(
            422,
            ErrorDetail(place="entities", reason=f"?explain=true accepts at most {MAX_EXPLAINED_ENTITIES} entities"),
        )
    return entities, is_list


def parse_outcomes(body: bytes, question: Question) -> tuple[list[Outcome], bool]:
    """The outcomes of a body, and whether it is a list.

    Raises RequestRejected with status 422, also if a value contradicts its `label` by the rule of the champion.
    """
    outcomes, is_list = _parse(body, OUTCOME, OUTCOMES, "outcome", "outcomes")
    details = [
        ErrorDetail(
            place=f"outcomes.{place}.label" if is_list else "outcome.label",
            reason=f"contradicts value {each.value:g}: {WORDS.definition.format(**question.terms)}",
            got=json.dumps(each.label),
        )
        for place, each in enumerate(outcomes)
        if each.value is not None and question.is_positive(each.value) != each.label
    ]
    if details:
        raise RequestRejected(422, *_first("outcomes", details, lambda detail: detail))
    return outcomes, is_list


def reject_outcomes_before_event(engine: sa.Engine, outcomes: Sequence[Outcome], is_list: bool) -> None:
    """Raises RequestRejected with status 422 if `known_at` is before the event. Unknown entities are not checked."""
    events = online_store.event_times(engine, [each.entity_id for each in outcomes])
    details = [
        ErrorDetail(
            place=f"outcomes.{place}.known_at" if is_list else "outcome.known_at",
            reason=f"is before the {WORDS.event}, {event.isoformat()}",
            got=each.known_at.isoformat(),
        )
        for place, each in enumerate(outcomes)
        if (event := events.get(each.entity_id)) is not None and each.known_at < event
    ]
    if details:
        raise RequestRejected(422, *_first("outcomes", details, lambda detail: detail))


def _parse(
    body: bytes, item_type: TypeAdapter[Any], list_type: TypeAdapter[Any], singular: str, plural: str
) -> tuple[list[Any], bool]:
    is_list = body.lstrip()[:1] == b"["
    place = plural if is_list else singular
    try:
        items = list_type.validate_json(body) if is_list else [item_type.validate_json(body)]
    except ValidationError as error:
        raise RequestRejected(422, *details_of(place, error, body)) from None
    reject_duplicate_names(body, place, sum(map(count_quotes, items)))
    return items, is_list


def count_quotes(item: BaseModel) -> int:
    """The number of quotation marks in the JSON of `item`, at least: two for each name, and two for each text."""
    values, names = item.__dict__, item.model_fields_set
    return 2 * (len(names) + sum(isinstance(values[name], (str, datetime)) for name in names))


def reject_duplicate_names(body: bytes, place: str, quotes: int) -> None:
    """Raises RequestRejected with status 422 if an object has the same name twice: pydantic would use the last one.

    `quotes` is the number of quotation marks in what was parsed. A duplicate adds quotation marks to the body, so a
    body with exactly that number has none. Counting is cheap; only the other bodies are parsed a second time.
    """
    if body.count(b'"') == quotes:
        return
    if places := list(_duplicates(json.loads(body, object_pairs_hook=tuple), place)):
        raise RequestRejected(
            422, *_first(place, places, lambda each: ErrorDetail(place=_shortened(each), reason=DUPLICATE))
        )


def _duplicates(value: Any, place: str) -> Iterator[str]:
    """The places of duplicate names. In `value`, objects are tuples of pairs, and lists are lists."""
    if isinstance(value, tuple):
        names: set[str] = set()
        for name, inner in value:
            if name in names:
                yield f"{place}.{name}"
            names.add(name)
            yield from _duplicates(inner, f"{place}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _duplicates(inner, f"{place}.{number}")


def details_of(place: str, error: ValidationError, body: bytes) -> list[ErrorDetail]:
    """The first errors, and the number of the others; `place` is the name of the whole body."""
    errors = error.errors(include_url=False, include_context=False)
    return _first(place, errors, lambda each: _detail(place, each, body))


def _first(place: str, errors: Sequence[Any], to_detail: Callable[[Any], ErrorDetail]) -> list[ErrorDetail]:
    details = [to_detail(each) for each in errors[:MAX_ERROR_DETAILS]]
    if len(errors) > MAX_ERROR_DETAILS:
        details.append(ErrorDetail(place=place, reason=f"{len(errors) - MAX_ERROR_DETAILS} more errors"))
    return details


def _detail(start: str, error: ErrorDetails, body: bytes) -> ErrorDetail:
    """pydantic's message, with the full place, and the value if it is short."""
    if error["type"] == "json_invalid":
        return ErrorDetail(
            place="body", reason=error["msg"] if _is_utf8(body) else "is not UTF-8, the encoding of JSON"
        )
    value = repr(error["input"])
    return ErrorDetail(
        place=_shortened(".".join([start, *map(str, error["loc"])])),
        reason=error["msg"].removeprefix("Value error, "),
        got=value if len(value) <= MAX_SHOWN_CHARACTERS else None,
    )


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in body[:4]  # UTF-16 has a null byte there, with or without a byte order mark


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "..."
