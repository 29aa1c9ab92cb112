"""The types that declare a problem's data: datasets, tables with their contracts, and the online features.

`ontime.problem.data` creates one `Data`. The service does not import this file: it has no pandas.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal

import pandas as pd
import pandera.pandas as pa

from ontime.availability import Availability
from ontime.declaration import Columns, KnownFrom, Names, ProblemBroken, Question
from ontime.params import FeatureParams
from ontime.problem import PROBLEM
from ontime.refusal import Refusal

Tables = Mapping[str, pd.DataFrame]
Holds = Callable[[pd.DataFrame], pd.Series]
KEY = "entity_id"


class SourceBroken(Refusal):
    """The raw data are missing, or not as declared."""


@dataclass(frozen=True)
class Dataset:
    """The source of the rows. `read` returns the declared tables, with times in UTC and declared units.

    Its argument is a moment, or None. It may leave out what was known only later; the rest is removed afterwards. DVC
    tracks the files in raw/; the lock file of the packages pins data that a package contains.

    For data that do not fit into memory, `read` is a generator that yields the tables in parts, such as a file at a
    time: rows of any tables with a moment, and each table without one whole, in one of the parts.
    """

    read: Callable[[datetime | None], Tables | Iterator[Tables]]
    first_day: date
    last_day: date
    unadapted: Callable[[], Tables] | None = (
        None  # the published data without repairs, to show how the contract rejects them
    )
    # Online features without values, because `read` empties a column: the monitor's blind_features does not count them
    blind_features: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table. `moment` is the column that splits it into monthly files and days; None: a small table, stored whole."""

    name: str
    availability: Availability
    # Its argument: the tables that it refers to; a table without a moment can refer only to others without one.
    contract: Callable[[Tables], pa.DataFrameSchema]
    moment: str | None = None
    rules: Mapping[str, Holds] = field(default_factory=dict)  # on whole rows: name -> which rows are valid
    measured: tuple[str, ...] = ()  # numeric columns of which each month must look as in Data.profile


@dataclass(frozen=True)
class Rule:
    """A known data error. `hits` marks the rows of `table` that have it; `action` is what happens to them."""

    name: str
    table: str
    column: str
    action: Literal["repaired", "quarantined", "noted"]
    reason: str
    hits: Callable[[Tables], pd.Series]
    emptied: tuple[str, ...] = ()  # the repair sets these columns of the rows to null ...
    at_most: float = 0.1  # ... in at most this share of a day's rows; more breaks the contract
    repair: Callable[[Tables, pd.Series], Tables] | None = None  # any other repair; its second argument: `hits`


@dataclass(frozen=True)
class DayColumn:
    """A statistic of a column over each day, and the words for days on which it is high or low, such as "long delays".

    Days that are alike in these columns are grouped into kinds, for the exploration report and the model card.
    """

    name: str
    table: str
    column: str
    statistic: Literal["mean", "min", "max", "sum", "count"]
    unit: str
    high: str
    low: str


@dataclass(frozen=True)
class Data:
    """The declaration of a problem's data. Raises ProblemBroken with every inconsistent entry."""

    datasets: Mapping[str, Dataset]
    tables: tuple[Table, ...]
    entities: str  # name of the table with one row an entity: `entity_id`, the request's fields, the label's columns
    # The features that are not in the request, of the entities with an event time in [start, end).
    online_features: Callable[[Tables, datetime, datetime, FeatureParams, Question], Columns] | None = None
    # A text column of `entities` whose values divide the rows into independent groups, such as regions: the features
    # of one are then built without the rows of the others, each in a file of its own. A table without it is shared.
    partition_key: str | None = None
    known_errors: tuple[Rule, ...] = ()
    # Rows are cleaned month by month: the known errors see the rows of a month and those this long before and after it.
    halo: timedelta = timedelta(0)
    # Statistics of the `measured` columns in the months of the reference dataset: `ontime profile` writes this file.
    profile: Path | None = None
    names: Callable[[Tables], Names] = lambda _: {}  # names of the codes in requests
    # Additional counts in reports/data_quality.json, of the raw rows of a month; those of all months are added.
    counts: Mapping[str, Callable[[Tables], int | Mapping[str, int]]] = field(default_factory=dict)
    drift_of: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # table -> columns whose drift the exploration report shows
    day_columns: tuple[DayColumn, ...] = ()

    def __post_init__(self) -> None:
        if problems := list(_wrong(self)):
            raise ProblemBroken("\n".join(["data:", *(f"  {each}" for each in problems)]))

    @property
    def event_at(self) -> str:
        """The column of the entities' table with the event time."""
        moment = self.table(self.entities).moment
        assert moment is not None  # noqa: S101  checked on construction
        return moment

    def table(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)

    @property
    def long(self) -> tuple[Table, ...]:
        """The tables with a moment."""
        return tuple(table for table in self.tables if table.moment is not None)


def _wrong(data: Data) -> Iterator[str]:
    tables = {table.name: table for table in data.tables}
    if len(tables) < len(data.tables):
        yield "tables: two have the same name; rename one"
    if data.entities not in tables:
        yield f"entities: {data.entities} is not a declared table"
    elif tables[data.entities].moment is None:
        yield f"tables: {data.entities} has no moment; set it to the column of the event time"
    yield from (f"drift_of: {name} is not a table with a moment" for name in data.drift_of
                if name not in tables or tables[name].moment is None)  # fmt: skip
    yield from (f"day_columns: {each.name}: {each.table} is not a table with a moment" for each in data.day_columns
                if each.table not in tables or tables[each.table].moment is None)  # fmt: skip
    if len({each.name for each in data.day_columns}) < len(data.day_columns):
        yield "day_columns: two have the same name; rename one"
    if len({rule.name for rule in data.known_errors}) < len(data.known_errors):
        yield "known_errors: two rules have the same name; rename one"
    for rule in data.known_errors:
        yield from _wrong_rule(rule, tables)
    if data.profile is None and (measured := [table.name for table in data.tables if table.measured]):
        yield f"profile: is missing, but {measured[0]} has measured columns; name a file that `ontime profile` writes"
    online = [feature.name for feature in PROBLEM.features if feature.known_from is not KnownFrom.REQUEST]
    if online and data.online_features is None:
        yield f"online_features: is missing, but {online[0]} is not computed from the request"
    for name, dataset in data.datasets.items():
        yield from _wrong_dataset(name, dataset, online)


def _wrong_dataset(name: str, dataset: Dataset, online: list[str]) -> Iterator[str]:
    if dataset.first_day > dataset.last_day:
        yield f"datasets: {name}: first_day {dataset.first_day} is after last_day {dataset.last_day}"
    for feature in sorted({*dataset.blind_features} - {*online}):
        yield f"datasets: {name}: blind_features: {feature} is not an online feature"


def _wrong_rule(rule: Rule, tables: Mapping[str, Table]) -> Iterator[str]:
    if rule.table not in tables:
        yield f"known_errors: {rule.name}: {rule.table} is not a declared table"
    elif rule.emptied and tables[rule.table].moment is None:
        yield f"known_errors: {rule.name}: `emptied` needs days, but {rule.table} has no moment; use `repair`"
    if (rule.action == "repaired") != bool(rule.emptied or rule.repair):
        yield f'known_errors: {rule.name}: a rule is "repaired" if it has `emptied` or `repair`, and only then'
