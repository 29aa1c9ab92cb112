"""A request's body as flights or outcomes, or a refusal with place and reason. `ontime.schema` says what is valid."""

import asyncio
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request

from ontime.schema import Flight, Outcome, Question
from serving.answers import Problem

MOST_FLIGHTS = 1000
MOST_EXPLAINED = 20
MOST_BYTES = 1_000_000
SWALLOWED_BYTES = 64_000_000
SHOWN_CHARACTERS = 80
MOST_PROBLEMS = 20

ONE = TypeAdapter(Flight)
MANY = TypeAdapter(Annotated[list[Flight], Field(min_length=1, max_length=MOST_FLIGHTS)])
ONE_OUTCOME = TypeAdapter(Outcome)
MANY_OUTCOMES = TypeAdapter(Annotated[list[Outcome], Field(min_length=1, max_length=MOST_FLIGHTS)])


class Refused(Exception):
    """The request gets this status and these problems for an answer."""

    def __init__(self, status: int, *problems: Problem) -> None:
        super().__init__(status, problems)
        self.status, self.problems = status, problems


async def body_of(request: Request) -> bytes:
    """The whole body. Raises Refused where it is too large, too slow, or ends before its announced length."""
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
    return bytes(body)


def flights_in(body: bytes, explain: bool) -> tuple[list[Flight], bool]:
    """The flights of a body, and whether it was a list. Raises Refused with 422."""
    flights, listed = _parsed(body, ONE, MANY, "flight")
    if explain and len(flights) > MOST_EXPLAINED:
        raise Refused(422, Problem(place="flights", reason=f"reasons are given for at most {MOST_EXPLAINED} flights"))
    return flights, listed


def outcomes_in(body: bytes, question: Question) -> list[Outcome]:
    """Raises Refused with 422, also for a delay that contradicts `late` by the rule of the release that answers."""
    outcomes, listed = _parsed(body, ONE_OUTCOME, MANY_OUTCOMES, "outcome")
    problems = [
        Problem(
            place=f"outcomes.{place}.late" if listed else "outcome.late",
            reason=f"contradicts delay_minutes {each.delay_minutes}: late is {question.late_minutes} minutes or more",
            got=str(each.late),
        )
        for place, each in enumerate(outcomes)
        if each.delay_minutes is not None and question.is_late(each.delay_minutes) != each.late
    ]
    if problems:
        raise Refused(422, *_shortened("outcomes", problems))
    return outcomes


def _parsed(body: bytes, one: TypeAdapter[Any], many: TypeAdapter[Any], what: str) -> tuple[list[Any], bool]:
    listed = body.lstrip()[:1] == b"["
    try:
        return (many.validate_json(body), True) if listed else ([one.validate_json(body)], False)
    except ValidationError as error:
        raise Refused(422, *problems_of(f"{what}s" if listed else what, error)) from None


def problems_of(start: str, error: ValidationError) -> list[Problem]:
    """The first problems, and how many more there are."""
    errors = error.errors(include_url=False, include_context=False)
    return _shortened(start, [_problem(start, each) for each in errors])


def _shortened(start: str, problems: list[Problem]) -> list[Problem]:
    if len(problems) <= MOST_PROBLEMS:
        return problems
    return [*problems[:MOST_PROBLEMS], Problem(place=start, reason=f"{len(problems) - MOST_PROBLEMS} more problems")]


def _problem(start: str, error: ErrorDetails) -> Problem:
    """pydantic's word for it, with the place spelled out and what the caller wrote cut short."""
    if error["type"] == "json_invalid":
        return Problem(place="body", reason=error["msg"])
    place, shown = ".".join([start, *map(str, error["loc"])]), repr(error["input"])
    return Problem(
        place=place if len(place) <= SHOWN_CHARACTERS else place[:SHOWN_CHARACTERS] + "...",
        reason=error["msg"].removeprefix("Value error, "),
        got=shown if len(shown) <= SHOWN_CHARACTERS else None,
    )
