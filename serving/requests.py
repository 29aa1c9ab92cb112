"""A request's body as entities or outcomes, or a refusal with place and reason. `ontime.schema` says what is valid."""

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

from ontime import database
from ontime.declaration import EntityRequest, Question
from ontime.problem import PROBLEM
from ontime.schema import WORDS, Outcome
from serving.answers import Problem

MOST_ENTITIES = 1000
MOST_EXPLAINED = 20
MOST_BYTES = 1_000_000
SWALLOWED_BYTES = 64_000_000
SHOWN_CHARACTERS = 80
MOST_PROBLEMS = 20
REPEATED = "is given more than once"


def _written(pattern: str, what: str) -> BeforeValidator:
    """Only what is written so: pydantic also reads 1383609600 as a day, and 1_0 as ten."""

    def check(text: object) -> object:
        if not (isinstance(text, str) and re.fullmatch(pattern, text)):
            raise ValueError(f"is not {what}")
        return text

    return BeforeValidator(check)


Day = Annotated[date, _written(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "a day, such as 2013-11-27")]
Whole = Annotated[int, _written(r"[0-9]{1,9}", "a whole number, in digits")]
Integer = Annotated[int, _written(r"-?[0-9]{1,18}", "a whole number, in digits")]  # as a database of 64 bits has them

ONE = TypeAdapter(PROBLEM.request)
MANY: TypeAdapter[list[EntityRequest]] = TypeAdapter(
    Annotated[list[PROBLEM.request], Field(min_length=1, max_length=MOST_ENTITIES)]  # type: ignore[name-defined,arg-type]  # known when this runs
)
ONE_OUTCOME = TypeAdapter(Outcome)
MANY_OUTCOMES = TypeAdapter(Annotated[list[Outcome], Field(min_length=1, max_length=MOST_ENTITIES)])


class Refused(Exception):
    """The request gets this status and these problems for an answer."""

    def __init__(self, status: int, *problems: Problem) -> None:
        super().__init__(status, problems)
        self.status, self.problems = status, problems


async def body_of(request: Request) -> bytes:
    """The whole body. Raises Refused where it is encoded, too large, or ends before its announced length."""
    for name, value in request.scope["headers"]:
        if name == b"content-encoding" and value.lower() not in (b"", b"identity"):
            reason = "is not supported: send the body uncompressed"
            raise Refused(
                415, Problem(place="header.content-encoding", reason=reason, got=_cut(value.decode("latin-1")))
            )
    body, swallowed = bytearray(), 0
    try:
        async for chunk in request.stream():
            if len(body) <= MOST_BYTES:
                body += chunk
            # A caller who is still sending does not read an answer: let it finish, within reason.
            swallowed += len(chunk)
            if swallowed > SWALLOWED_BYTES:
                break
    except ClientDisconnect:
        raise Refused(422, Problem(place="body", reason="ended before its announced length")) from None
    except asyncio.CancelledError:
        # The request's time is over while its body is still on the way: `timeout` makes a TimeoutError of this.
        request.state.body_is_late = True
        raise
    if len(body) > MOST_BYTES:
        raise Refused(413, Problem(place="body", reason=f"more than {MOST_BYTES} bytes"))
    return bytes(body).removeprefix(codecs.BOM_UTF8)  # Windows puts this mark before a text, and RFC 8259 allows it


def entities_in(body: bytes, explain: bool) -> tuple[list[EntityRequest], bool]:
    """The entities of a body, and whether it was a list. Raises Refused with 422."""
    entities, listed = _parsed(body, ONE, MANY, "entity", "entities")
    if explain and len(entities) > MOST_EXPLAINED:
        raise Refused(422, Problem(place="entities", reason=f"reasons are given for at most {MOST_EXPLAINED} entities"))
    return entities, listed


def outcomes_in(body: bytes, question: Question) -> tuple[list[Outcome], bool]:
    """The outcomes of a body, and whether it was a list.

    Raises Refused with 422, also for a value that contradicts `label` by the rule of the release that answers.
    """
    outcomes, listed = _parsed(body, ONE_OUTCOME, MANY_OUTCOMES, "outcome", "outcomes")
    problems = [
        Problem(
            place=f"outcomes.{place}.label" if listed else "outcome.label",
            reason=f"contradicts value {each.value:g}: {WORDS.definition.format(**question.terms)}",
            got=json.dumps(each.label),
        )
        for place, each in enumerate(outcomes)
        if each.value is not None and question.is_positive(each.value) != each.label
    ]
    if problems:
        raise Refused(422, *_first("outcomes", problems, lambda problem: problem))
    return outcomes, listed


def refuse_outcomes_before_the_event(engine: sa.Engine, outcomes: Sequence[Outcome], listed: bool) -> None:
    """Raises Refused with 422 for what was known before it happened; of unknown entities nobody can say."""
    events = database.event_times(engine, [each.entity_id for each in outcomes])
    problems = [
        Problem(
            place=f"outcomes.{place}.known_at" if listed else "outcome.known_at",
            reason=f"is before the {WORDS.event}, {event.isoformat()}: nobody could know",
            got=each.known_at.isoformat(),
        )
        for place, each in enumerate(outcomes)
        if (event := events.get(each.entity_id)) is not None and each.known_at < event
    ]
    if problems:
        raise Refused(422, *_first("outcomes", problems, lambda problem: problem))


def _parsed(
    body: bytes, one: TypeAdapter[Any], many: TypeAdapter[Any], singular: str, plural: str
) -> tuple[list[Any], bool]:
    listed = body.lstrip()[:1] == b"["
    start = plural if listed else singular
    try:
        things = many.validate_json(body) if listed else [one.validate_json(body)]
    except ValidationError as error:
        raise Refused(422, *problems_of(start, error, body)) from None
    refuse_repeated(body, start, sum(map(quotes_in, things)))
    return things, listed


def quotes_in(thing: BaseModel) -> int:
    """How many quotation marks the JSON of `thing` has at least: two for each name, and two for each text."""
    values, names = thing.__dict__, thing.model_fields_set
    return 2 * (len(names) + sum(isinstance(values[name], (str, datetime)) for name in names))


def refuse_repeated(body: bytes, start: str, quotes: int) -> None:
    """Raises Refused with 422 where an object has a name twice: pydantic takes the last of them.

    A name that was dropped left its quotation marks in the body, so a body with no more of them than `quotes`, those
    of what was read, repeats none. That costs next to nothing; only another body is read a second time.
    """
    if body.count(b'"') == quotes:
        return
    if places := list(_repeated(json.loads(body, object_pairs_hook=tuple), start)):
        raise Refused(422, *_first(start, places, lambda place: Problem(place=_cut(place), reason=REPEATED)))


def _repeated(value: Any, place: str) -> Iterator[str]:
    """The places of the names that an object repeats; `value` has objects as tuples of pairs, and lists as lists."""
    if isinstance(value, tuple):
        seen: set[str] = set()
        for name, inner in value:
            if name in seen:
                yield f"{place}.{name}"
            seen.add(name)
            yield from _repeated(inner, f"{place}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _repeated(inner, f"{place}.{number}")


def problems_of(start: str, error: ValidationError, body: bytes) -> list[Problem]:
    """The first problems, and how many more there are."""
    errors = error.errors(include_url=False, include_context=False)
    return _first(start, errors, lambda each: _problem(start, each, body))


def _first(start: str, found: Sequence[Any], as_problem: Callable[[Any], Problem]) -> list[Problem]:
    problems = [as_problem(each) for each in found[:MOST_PROBLEMS]]
    if len(found) > MOST_PROBLEMS:
        problems.append(Problem(place=start, reason=f"{len(found) - MOST_PROBLEMS} more problems"))
    return problems


def _problem(start: str, error: ErrorDetails, body: bytes) -> Problem:
    """pydantic's word for it, with the place spelled out and what the caller wrote cut short."""
    if error["type"] == "json_invalid":
        return Problem(place="body", reason=error["msg"] if _is_utf8(body) else "is not UTF-8, the encoding of JSON")
    shown = repr(error["input"])
    return Problem(
        place=_cut(".".join([start, *map(str, error["loc"])])),
        reason=error["msg"].removeprefix("Value error, "),
        got=shown if len(shown) <= SHOWN_CHARACTERS else None,
    )


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in body[:4]  # as the first characters of UTF-16 have, with or without a mark before them


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
