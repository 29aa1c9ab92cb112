"""What people can ask about: the problem in words, and the entities of the online store by day, hour and field."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, create_model

from ontime import database
from ontime.declaration import Names, Search, choices_of, kind_of
from ontime.local_time import day_of, midnight
from ontime.problem import PROBLEM
from ontime.release import Manifest
from ontime.schema import WORDS, ZONE
from serving.answers import Choice, ListedEntity, Listing, ProblemInfo, SearchField
from serving.requests import Day, Integer, Whole

MOST_LISTED = 200
SPANS_TOGETHER = 300  # in one statement: SQLite refuses an expression of a thousand terms
FIELDS = list(PROBLEM.request.model_fields)


def _type_of(name: str) -> Any:
    """Of a field in a query, where everything is text: as in the request, but for whole numbers in digits.

    A Literal of other values than text refuses all text, so only its kind is asked for.
    """
    declared = PROBLEM.request.model_fields[name]
    plain: Any = {int: Integer, bool: bool}.get(kind_of(declared.annotation), declared.annotation)
    return Annotated[plain, *declared.metadata] if declared.metadata else plain


class _Query(BaseModel):
    model_config = ConfigDict(frozen=True)

    day: Annotated[Day | None, Field(description=f"of the {WORDS.event}, {PROBLEM.zone}")] = None
    hour: Annotated[Whole | None, Field(ge=0, le=23, description=f"of the {WORDS.event}, {PROBLEM.zone}")] = None
    limit: Annotated[Whole, Field(ge=1, le=MOST_LISTED)] = 50


Query: Any = create_model(  # type: ignore[call-overload]  # its fields are known when this runs
    "Query",
    __base__=_Query,
    **{each.field: (_type_of(each.field) | None, Field(None, description=each.label)) for each in PROBLEM.search},
)


def find(engine: sa.Engine, query: Any, names: Names) -> Listing:
    table, event = database.entities, database.entities.c.event_at
    with engine.connect() as connection:
        first, last = connection.execute(sa.select(sa.func.min(event), sa.func.max(event))).one()
        if first is None:
            return Listing(days=None, more=False, entities=())
        wanted = sa.select(table).order_by(event, table.c.entity_id)
        for each in PROBLEM.search:
            if (value := getattr(query, each.field)) is not None:
                wanted = wanted.where(table.c[each.field] == value)
        days = day_of(first), day_of(last)
        spans = _spans(*days, query.day, query.hour)
        rows: list[Mapping[Any, Any]] = []
        for place in range(0, len(spans), SPANS_TOGETHER):
            if len(rows) > query.limit:
                break
            meant = (sa.and_(event >= begin, event < end) for begin, end in spans[place : place + SPANS_TOGETHER])
            some = wanted.where(sa.or_(*meant)).limit(query.limit + 1 - len(rows))
            rows += connection.execute(some).mappings().all()
    return Listing(
        days=days, more=len(rows) > query.limit, entities=tuple(_listed(row, names) for row in rows[: query.limit])
    )


def one(engine: sa.Engine, entity_id: str, names: Names) -> ListedEntity | None:
    with engine.connect() as connection:
        wanted = sa.select(database.entities).where(database.entities.c.entity_id == entity_id)
        row = connection.execute(wanted).mappings().first()
    return None if row is None else _listed(row, names)


def _spans(first: date, last: date, day: date | None, hour: int | None) -> list[tuple[datetime, datetime]]:
    """The stretches of time that are meant, in their order: of an hour one a day, because a day may have 23 or 25."""
    if day is not None:
        first, last = max(first, day), min(last, day)
    if first > last:
        return []
    if hour is None:
        return [(midnight(first), midnight(last + timedelta(days=1)))]
    days = (first + timedelta(days=count) for count in range((last - first).days + 1))
    begins = [datetime.combine(each, time(hour), ZONE) for each in days]
    return [(begin, begin + timedelta(hours=1)) for begin in begins]


def _listed(row: Mapping[Any, Any], names: Names) -> ListedEntity:
    request = PROBLEM.request.model_validate({name: _on_our_clock(row[name]) for name in FIELDS})
    described = asdict(PROBLEM.describe(request, names))
    told = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in request}
    return ListedEntity(
        entity_id=row["entity_id"], event_at=row["event_at"].astimezone(ZONE), request=told, **described
    )


def _on_our_clock(value: Any) -> Any:
    return value.astimezone(ZONE) if isinstance(value, datetime) else value


def problem(manifest: Manifest) -> ProblemInfo:
    """In the words of the question that this release answers."""
    question = manifest.question
    words = {name: text.format(**question.terms) for name, text in asdict(WORDS).items() if isinstance(text, str)}
    return ProblemInfo(
        name=PROBLEM.name,
        zone=PROBLEM.zone,
        label_at_least=question.label_at_least,
        lead_minutes=question.lead_minutes,
        words=words,
        search=tuple(_field(each, manifest.names) for each in PROBLEM.search),
        example_day=PROBLEM.example_day,
        example_hour=PROBLEM.example_hour,
    )


def _field(each: Search, names: Names) -> SearchField:
    values = [json.dumps(value) if not isinstance(value, str) else value
              for value in choices_of(PROBLEM.request.model_fields[each.field].annotation)]  # fmt: skip
    known = names.get(each.field, {})
    choices = tuple(Choice(value=value, name=known.get(value, value)) for value in (values or known))
    # Names come with the data. Without any, a list would hold nothing to choose.
    only = each.choices and bool(choices)
    return SearchField(
        field=each.field, label=each.label, placeholder=each.placeholder, only_choices=only, choices=choices
    )
