"""A request's body as flights, or a refusal that names place and reason. `schema.Flight` says what is valid."""

from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from ontime.schema import Flight
from serving.answers import Problem

MOST_FLIGHTS = 1000
MOST_BYTES = 1_000_000
SHOWN_CHARACTERS = 80
MOST_PROBLEMS = 20

ONE = TypeAdapter(Flight)
MANY = TypeAdapter(Annotated[list[Flight], Field(min_length=1, max_length=MOST_FLIGHTS)])


class Refused(Exception):
    """The request gets this status and these problems for an answer."""

    def __init__(self, status: int, *problems: Problem) -> None:
        super().__init__(status, problems)
        self.status, self.problems = status, problems


def flights_in(body: bytes) -> tuple[list[Flight], bool]:
    """The flights of a body, and whether it was a list. Raises Refused with 413 or 422."""
    if len(body) > MOST_BYTES:
        raise Refused(413, Problem(place="body", reason=f"more than {MOST_BYTES} bytes"))
    listed = body.lstrip()[:1] == b"["
    try:
        return (MANY.validate_json(body), True) if listed else ([ONE.validate_json(body)], False)
    except ValidationError as error:
        raise Refused(422, *_problems("flights" if listed else "flight", error)) from None


def _problems(start: str, error: ValidationError) -> list[Problem]:
    """The first problems, and how many more there are."""
    errors = error.errors(include_url=False, include_context=False)
    problems = [_problem(start, each) for each in errors[:MOST_PROBLEMS]]
    if len(errors) > MOST_PROBLEMS:
        problems.append(Problem(place=start, reason=f"{len(errors) - MOST_PROBLEMS} more problems"))
    return problems


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
