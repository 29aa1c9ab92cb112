"""The events of a stream: a message that says when values of a row became known, and when there are no earlier ones.

    {"table": "...", "known_at": "2013-11-27T23:10:00Z", "values": {"entity_id": "...", ...}}
    {"clock": "2013-11-27T23:15:00Z"}

`values` has columns of a declared table. A row of a table with plans (`Scheduled`) comes in several events: first its
plan, then what happens to it; each has the row's key and moment. Of all others (`Observed`), an event is a whole row. A
clock says that everything known until then has been sent, so that time passes although nothing happens.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from ontime import declaration
from ontime.availability import Scheduled
from ontime.datasets import KEY, Table, Tables
from ontime.declaration import EntityRequest
from ontime.problem import PROBLEM
from ontime.problem.data import DATA
from ontime.refusal import Refusal

MAX_BODY_BYTES = 65_536
FIELDS = tuple(PROBLEM.request.model_fields)
_REQUEST: TypeAdapter[EntityRequest] = TypeAdapter(PROBLEM.request)


class NotStreamable(Refusal):
    """The contract of a table does not say what its events need: their columns, and the key of their row."""


class EventRejected(ValueError):
    """A message is not a valid event: `place` in it, and the reason."""

    def __init__(self, place: str, reason: str, entity_id: str | None = None) -> None:
        super().__init__(f"{place}: {reason}" if place else reason)
        self.place, self.reason, self.entity_id = place, reason, entity_id


class Event(NamedTuple):
    """Values of a row of a table, and since when they are known; `moment` is that of the row."""

    table: str
    moment: datetime
    known_at: datetime
    values: Mapping[str, Any]  # as JSON has them: times as text

    @property
    def entity_id(self) -> str | None:
        return self.values[KEY] if self.table == DATA.entities else None


class EventColumn(NamedTuple):
    """What the contract of a table says of a column's values."""

    dtype: Any  # of pandas
    parse: Callable[[Any], Any]  # Raises ValueError for a value of another type
    nullable: bool


class EventParser:
    """Parses messages by the contracts of the tables; `small` are the tables without a moment, which they refer to."""

    def __init__(self, small: Tables) -> None:
        empty = {table.name: pd.DataFrame(columns=_all_columns(table)) for table in DATA.long}
        self.columns = {table.name: _columns_of(table, {**empty, **small}) for table in DATA.long}
        self.keys = {table.name: _key_of(table, {**empty, **small}) for table in DATA.long}
        self._tables = {table.name: table for table in DATA.long}

    def parse(self, body: bytes) -> Event | datetime:
        """An event, or the time of a clock message. Raises EventRejected."""
        if len(body) > MAX_BODY_BYTES:
            raise EventRejected("", f"{len(body):,} bytes are more than {MAX_BODY_BYTES:,}")
        try:
            message = from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise EventRejected("", f"is not JSON: {error}") from None
        if not isinstance(message, dict):
            raise EventRejected("", "is not a JSON object")
        if message.keys() == {"clock"}:
            return _time("clock", message["clock"])
        if message.keys() != {"table", "known_at", "values"}:
            raise EventRejected("", f"has {', '.join(sorted(message)) or 'nothing'}, not table, known_at and values")
        table = self._tables.get(message["table"]) if isinstance(message["table"], str) else None
        if table is None:
            raise EventRejected("table", f"{message['table']!r} is not one of {', '.join(self._tables)}")
        values = message["values"]
        if not isinstance(values, dict):
            raise EventRejected("values", "is not a JSON object")
        try:
            return self._event(table, _time("known_at", message["known_at"]), values)
        except EventRejected as rejected:
            entity_id = values.get(KEY) if table.name == DATA.entities else None
            rejected.entity_id = entity_id if isinstance(entity_id, str) else None
            raise

    def _event(self, table: Table, known_at: datetime, values: dict[str, Any]) -> Event:
        columns = self.columns[table.name]
        assert table.moment is not None  # noqa: S101  only such tables are parsed
        required: tuple[str, ...] = (table.moment,)
        if isinstance(table.availability, Scheduled):
            required = (*self.keys[table.name], table.moment)
        elif table.availability.columns:
            required = tuple(columns)
        if absent := [name for name in required if name not in values]:
            raise EventRejected("values", f"lacks {', '.join(absent)}")
        for name, value in values.items():
            column = columns.get(name)
            if column is None:
                raise EventRejected(f"values.{name}", f"is not a column of {table.name}")
            if value is None:
                if not column.nullable:
                    raise EventRejected(f"values.{name}", "is null")
                continue
            try:
                column.parse(value)
            except ValueError as error:
                raise EventRejected(f"values.{name}", str(error)) from None
        if table.name == DATA.entities and all(name in values for name in FIELDS):
            _refuse_other_entity(values)
        return Event(table.name, _time(f"values.{table.moment}", values[table.moment]), known_at, values)


def _refuse_other_entity(values: Mapping[str, Any]) -> None:
    """Raise EventRejected unless the fields make a request with this key."""
    try:
        request = _REQUEST.validate_python({name: values[name] for name in FIELDS})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(["values", *map(str, first["loc"])])
        raise EventRejected(place, f"{first['msg'].removeprefix('Value error, ')}, not {first['input']!r}") from None
    if request.entity_id != values[KEY]:
        raise EventRejected(f"values.{KEY}", f"is {values[KEY]!r}; the key of these fields is {request.entity_id!r}")


def _all_columns(table: Table) -> list[str]:
    return list(dict.fromkeys([*([table.moment] if table.moment else []), *table.availability.columns]))


def _columns_of(table: Table, tables: Tables) -> dict[str, EventColumn]:
    """The columns of a table by its contract. Raises NotStreamable if that lacks one."""
    contract = table.contract(tables)
    needed = _all_columns(table)
    if table.name == DATA.entities:
        needed += [KEY, *FIELDS, PROBLEM.label.column, PROBLEM.label.known_at]
    if absent := sorted({*needed} - {*map(str, contract.columns)}):
        raise NotStreamable(f"{table.name}: its contract has no column {', '.join(absent)}: declare it")
    return {
        str(name): EventColumn(dtype := _dtype(column), _parser_of(dtype), bool(column.nullable))
        for name, column in contract.columns.items()
    }


def _dtype(column: Any) -> Any:
    return pd.Series([], dtype=object).dtype if column.dtype is None else column.dtype.type


def _key_of(table: Table, tables: Tables) -> tuple[str, ...]:
    """The columns by which events find their row. Raises NotStreamable for a table with plans that has none."""
    if table.name == DATA.entities:
        return (KEY,)
    contract = table.contract(tables)
    key = next(((str(name),) for name, column in contract.columns.items() if column.unique), None)
    if key is None and contract.unique:
        key = tuple(contract.unique)
    if key is None and isinstance(table.availability, Scheduled):
        raise NotStreamable(f"{table.name}: its contract has no unique column, by which an event finds its row")
    return key or ()


def _time(place: str, value: object) -> datetime:
    try:
        return _parse_time(value)
    except ValueError as error:
        raise EventRejected(place, str(error)) from None


def _parse_time(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"is {value!r}, not a time with its offset, such as 2013-11-27T23:10:00Z")
    if not declaration.FIRST_YEAR <= moment.year <= declaration.LAST_YEAR:
        raise ValueError(f"is {value!r}, not between {declaration.FIRST_YEAR} and {declaration.LAST_YEAR}")
    return moment.astimezone(UTC)


def _parse_local_time(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None:
        raise ValueError(f"is {value!r}, not a time without an offset, such as 2013-11-27T18:10:00")
    return moment


def _parse_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is {value!r}, not text")
    return value


def _parse_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"is {value!r}, not a number")
    return value


def _parse_integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise ValueError(f"is {value!r}, not an integer")
    return value


def _parse_boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is {value!r}, not true or false")
    return value


def _parse_any(value: object) -> object:
    if isinstance(value, (list, dict)):
        raise ValueError(f"is {value!r}, not a single value")
    return value


@lru_cache(maxsize=64)
def _parser_of(dtype: Any) -> Callable[[Any], Any]:
    if isinstance(dtype, pd.DatetimeTZDtype):
        return _parse_time
    if pd.api.types.is_datetime64_dtype(dtype):
        return _parse_local_time
    if pd.api.types.is_bool_dtype(dtype):
        return _parse_boolean
    if pd.api.types.is_integer_dtype(dtype):
        return _parse_integer
    if pd.api.types.is_float_dtype(dtype):
        return _parse_number
    return _parse_text if pd.api.types.is_string_dtype(dtype) else _parse_any


def events_of(tables: Tables) -> list[Event]:
    """The events that a live feed would have sent of these tables, by the time at which they became known."""
    small = {name: rows for name, rows in tables.items() if DATA.table(name).moment is None}
    parser = EventParser(small)
    events = [
        Event(table.name, moment, known_at, values)
        for table in DATA.long
        for rows, known_at_of in _known_together(table, tables[table.name], parser.keys[table.name])
        for moment, known_at, values in zip(
            rows[table.moment].dt.to_pydatetime(), known_at_of.dt.to_pydatetime(), _json_rows(rows), strict=True
        )
    ]
    return sorted(events, key=lambda event: event.known_at)


def _known_together(table: Table, rows: pd.DataFrame, key: tuple[str, ...]) -> Iterator[tuple[pd.DataFrame, pd.Series]]:
    """The parts of a table whose columns become known together, with the time at which each row of the part does."""
    availability = table.availability
    if not isinstance(availability, Scheduled):
        yield rows, rows[availability.columns[0]] if availability.columns else rows[table.moment]
        return
    identity = list(dict.fromkeys([*key, str(table.moment)]))
    planned = list(dict.fromkeys([*identity, *availability.planned]))
    yield rows[planned], rows[availability.at] - availability.ahead
    ended_at = rows[availability.end].fillna(rows[availability.due] + availability.final_after)
    at_end = [name for name in rows if name not in planned]
    for event, columns in availability.events.items():
        happened = rows[event].notna()
        part = rows[happened]
        yield part[[*identity, event, *columns]], part[event]
        at_end = [name for name in at_end if name not in (event, *columns)]
        never = rows[~happened]
        yield never[[*identity, event, *columns]], ended_at[~happened]
    yield rows[[*identity, *at_end]], ended_at


def _json_rows(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    columns = [_json_values(rows[name]) for name in rows]
    return (dict(zip(rows.columns, values, strict=True)) for values in zip(*columns, strict=True))


def _json_values(values: pd.Series) -> list[Any]:
    """Values as JSON has them: times as text, None where there is none."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        zone = "Z" if isinstance(values.dtype, pd.DatetimeTZDtype) else ""
        naive = values.dt.tz_localize(None) if zone else values
        texts = [f"{text}{zone}" for text in np.datetime_as_string(naive.to_numpy("datetime64[us]"), unit="us")]
        return [None if missing else text for text, missing in zip(texts, values.isna(), strict=True)]
    return values.astype(object).where(values.notna(), None).tolist()


def message_of(event: Event) -> bytes:
    """The event as the body of a message, which `EventParser.parse` reads."""
    return to_json({"table": event.table, "known_at": event.known_at, "values": event.values})


def clock_message(known_until: datetime) -> bytes:
    """The body of a message that says that everything known until then has been sent."""
    return to_json({"clock": known_until})
