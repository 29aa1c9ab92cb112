"""Search for entities of the online store by day, hour and field; the texts of the problem for the web pages."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, cast

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, create_model

from ontime import database_tables
from ontime.declaration import ENTITY_ID, Names, Search
from ontime.local_time import day_of, midnight
from ontime.problem import PROBLEM
from ontime.release import Manifest
from ontime.request_fields import choices_of, kind_of
from ontime.schema import WORDS, ZONE
from serving.parsing import Day, Integer, NaturalNumber, RequestRejected
from serving.responses import ErrorDetail, ListedEntity, Listing, ProblemInfo, SearchChoice, SearchField

MAX_LISTED_ENTITIES = 200
FIELDS = list(PROBLEM.request.model_fields)


def _type_of(name: str) -> Any:
    """The type of a field in a query string: as in the request, but parsed from text.

    A Literal of values other than text would reject all text, so the type of its values is used.
    """
    declared = PROBLEM.request.model_fields[name]
    parsed: Any = {int: Integer, bool: bool}.get(kind_of(declared.annotation), declared.annotation)
    return Annotated[parsed, *declared.metadata] if declared.metadata else parsed


class _Query(BaseModel):
    model_config = ConfigDict(frozen=True)

    day: Annotated[Day | None, Field(description=f"of the {WORDS.event}, {PROBLEM.zone}")] = None
    hour: Annotated[NaturalNumber | None, Field(ge=0, le=23, description=f"of the {WORDS.event}, {PROBLEM.zone}")] = (
        None
    )
    limit: Annotated[NaturalNumber, Field(ge=1, le=MAX_LISTED_ENTITIES)] = 50
    after: Annotated[
        str | None, Field(pattern=f"^{ENTITY_ID}$", description="the last entity_id of the previous page")
    ] = None


Query: Any = create_model(  # type: ignore[call-overload]  # its fields are known at run time only
    "Query",
    __base__=_Query,
    **{each.field: (_type_of(each.field) | None, Field(None, description=each.label)) for each in PROBLEM.search},
)


def find_entities(engine: sa.Engine, query: Any, names: Names) -> Listing:
    """The first matches in the order of their events, after `query.after`. Raises RequestRejected if that is unknown.

    Each query reads one span of the index on the event times, or on a search field and the event times, so the time
    does not grow with the number of entities. An hour without a day is one short query for each day.
    """
    table, event = database_tables.entities, database_tables.entities.c.event_at
    with engine.connect() as connection:
        # Two queries in one: SQLite looks up a single minimum in an index, but reads all of it for both at once.
        ends = (sa.select(function(event)).scalar_subquery() for function in (sa.func.min, sa.func.max))
        first, last = connection.execute(sa.select(*ends)).one()
        if first is None:
            return Listing(days=None, more=False, entities=())
        days = day_of(first), day_of(last)
        statement = sa.select(table).order_by(event, table.c.entity_id)
        for each in PROBLEM.search:
            if (value := getattr(query, each.field)) is not None:
                statement = statement.where(table.c[each.field] == value)
        if query.after is not None:
            first = _event_of(connection, query.after)
            statement = statement.where(sa.or_(event > first, table.c.entity_id > query.after))
        page = statement.where(event >= sa.bindparam("begin"), event < sa.bindparam("end")).limit(sa.bindparam("most"))
        rows: list[Mapping[Any, Any]] = []
        for begin, end in _spans(day_of(first), days[1], query.day, query.hour):
            values = {"begin": max(begin, first), "end": end, "most": query.limit + 1 - len(rows)}
            rows += connection.execute(page, values).mappings().all()
            if len(rows) > query.limit:
                break
    return Listing(
        days=days, more=len(rows) > query.limit, entities=tuple(_listed(row, names) for row in rows[: query.limit])
    )


def _event_of(connection: sa.Connection, entity_id: str) -> datetime:
    table = database_tables.entities.c
    event = connection.execute(sa.select(table.event_at).where(table.entity_id == entity_id)).scalar()
    if event is None:
        raise RequestRejected(422, ErrorDetail(place="query.after", reason="is not in the online store", got=entity_id))
    return cast("datetime", event)


def find_entity(engine: sa.Engine, entity_id: str, names: Names) -> ListedEntity | None:
    with engine.connect() as connection:
        statement = sa.select(database_tables.entities).where(database_tables.entities.c.entity_id == entity_id)
        row = connection.execute(statement).mappings().first()
    return None if row is None else _listed(row, names)


def _spans(first: date, last: date, day: date | None, hour: int | None) -> list[tuple[datetime, datetime]]:
    """Start and end of the matching time spans, in order; an hour has one span per day, as a day has 23 to 25 hours."""
    if day is not None:
        first, last = max(first, day), min(last, day)
    if first > last:
        return []
    if hour is None:
        return [(midnight(first), midnight(last + timedelta(days=1)))]
    days = (first + timedelta(days=count) for count in range((last - first).days + 1))
    starts = [datetime.combine(each, time(hour), ZONE) for each in days]
    return [(start, start + timedelta(hours=1)) for start in starts]


def _listed(row: Mapping[Any, Any], names: Names) -> ListedEntity:
    request = PROBLEM.request.model_validate({name: _in_zone(row[name]) for name in FIELDS})
    description = asdict(PROBLEM.describe(request, names))
    body = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in request}
    return ListedEntity(
        entity_id=row["entity_id"], event_at=row["event_at"].astimezone(ZONE), request=body, **description
    )


def _in_zone(value: Any) -> Any:
    return value.astimezone(ZONE) if isinstance(value, datetime) else value


def problem_info(manifest: Manifest) -> ProblemInfo:
    """The texts, filled in with the question of this release."""
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


def _field(search: Search, names: Names) -> SearchField:
    values = [json.dumps(value) if not isinstance(value, str) else value
              for value in choices_of(PROBLEM.request.model_fields[search.field].annotation)]  # fmt: skip
    known_names = names.get(search.field, {})
    choices = tuple(SearchChoice(value=value, name=known_names.get(value, value)) for value in (values or known_names))
    # The names are part of the data. Without them there is nothing to choose from.
    only_choices = search.choices and bool(choices)
    return SearchField(
        field=search.field,
        label=search.label,
        placeholder=search.placeholder,
        only_choices=only_choices,
        choices=choices,
    )
