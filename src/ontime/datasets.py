"""In what terms a problem's data are declared: datasets, tables with their contract, and the features of a moment.

`ontime.problem.data` fills them in. The service does not import this file: it has no pandas.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

import pandas as pd
import pandera.pandas as pa

from ontime.availability import Availability
from ontime.declaration import Columns, Known, Names, ProblemBroken, Question
from ontime.params import FeatureParams
from ontime.problem import PROBLEM
from ontime.refusal import Refusal

Tables = Mapping[str, pd.DataFrame]
Holds = Callable[[pd.DataFrame], pd.Series]
KEY = "entity_id"


class SourceBroken(Refusal):
    """The raw data are not what their dataset promises."""


@dataclass(frozen=True)
class Dataset:
    """Where rows come from. `read` gives the declared tables in UTC and our units.

    It may leave out what is known later than the moment that it is given; whatever it does not is removed afterwards.
    Raw files lie in raw/, which DVC watches; data in a package are watched by the lock of the packages.
    """

    read: Callable[[datetime | None], Tables]
    first_day: date
    last_day: date
    unadapted: Callable[[], Tables] | None = None  # as it is published, to show what the contract says of it


@dataclass(frozen=True)
class Table:
    """`moment` is the column by which rows are kept in monthly files and days are judged; None: small, kept whole."""

    name: str
    known: Availability
    contract: Callable[[Tables], pa.DataFrameSchema]  # given the tables that it refers to
    moment: str | None = None
    rules: Mapping[str, Holds] = field(default_factory=dict)  # over whole rows: name -> which rows hold


@dataclass(frozen=True)
class Rule:
    """Known dirt. `hits` marks the rows of `table` that have it; the action says what is done about them."""

    name: str
    table: str
    column: str
    action: Literal["repaired", "set aside", "noted"]
    reason: str
    hits: Callable[[Tables], pd.Series]
    emptied: tuple[str, ...] = ()  # the columns that a repair sets to null in the rows hit ...
    at_most: float = 0.1  # ... of a day's rows; more is no dirt, but another feed
    repair: Callable[[Tables, pd.Series], Tables] | None = None  # another repair, of the rows hit


@dataclass(frozen=True)
class Data:
    """Raises ProblemBroken, naming each entry that is inconsistent."""

    datasets: Mapping[str, Dataset]
    tables: tuple[Table, ...]
    entities: str  # the table with one row an entity: `entity_id`, the request's fields, the label's columns
    as_of: Callable[[Tables, datetime, datetime, FeatureParams, Question], Columns] | None = None
    dirt: tuple[Rule, ...] = ()
    names: Callable[[Tables], Names] = lambda _: {}  # what people call the codes in requests
    counts: Mapping[str, Callable[[Tables], Any]] = field(default_factory=dict)  # more for the report on quality
    drift_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # table -> columns, for exploration

    def __post_init__(self) -> None:
        if problems := list(_wrong(self)):
            raise ProblemBroken("\n".join(["data:", *(f"  {each}" for each in problems)]))

    @property
    def event_at(self) -> str:
        """The column of the event time in the entities' table."""
        moment = self.table(self.entities).moment
        assert moment is not None  # noqa: S101  checked on construction
        return moment

    def table(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)

    @property
    def long(self) -> tuple[Table, ...]:
        """The tables whose rows have a moment."""
        return tuple(table for table in self.tables if table.moment is not None)


def _wrong(data: Data) -> Iterator[str]:
    tables = {table.name: table for table in data.tables}
    if len(tables) < len(data.tables):
        yield "tables: two have the same name"
    if data.entities not in tables:
        yield f"entities: {data.entities} is not a declared table"
    elif tables[data.entities].moment is None:
        yield f"tables: {data.entities} needs a moment: rows without a time are not supported"
    yield from (f"drift_of: {name} is not a table with a moment" for name in data.drift_of
                if name not in tables or tables[name].moment is None)  # fmt: skip
    if len({rule.name for rule in data.dirt}) < len(data.dirt):
        yield "dirt: two rules have the same name"
    for rule in data.dirt:
        yield from _wrong_rule(rule, tables)
    looked_up = [feature.name for feature in PROBLEM.features if feature.known is not Known.REQUEST]
    if looked_up and data.as_of is None:
        yield f"as_of: there is none, and {looked_up[0]} is not made of the request"
    for name, dataset in data.datasets.items():
        if dataset.first_day > dataset.last_day:
            yield f"datasets: {name}: it begins on {dataset.first_day} and ends on {dataset.last_day}"


def _wrong_rule(rule: Rule, tables: Mapping[str, Table]) -> Iterator[str]:
    if rule.table not in tables:
        yield f"dirt: {rule.name} is about {rule.table}, which is not a declared table"
    elif rule.emptied and tables[rule.table].moment is None:
        yield f"dirt: {rule.name} repairs {rule.table}, whose rows have no day"
    if (rule.action == "repaired") != bool(rule.emptied or rule.repair):
        yield f'dirt: {rule.name}: a rule is "repaired" if it has `emptied` or `repair`, and only then'
