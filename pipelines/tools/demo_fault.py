"""A fault for the feed of any problem: a column whose decimal point is lost, chosen where the contract sees it."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import NamedTuple

from ontime import contract, sources
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.problem import PROBLEM
from ontime.problem.data import DATA

FACTOR = 10


class NoFault(ValueError):
    """The contract limits no column of the feed, so that no fault of this kind would be noticed."""


class Fault(NamedTuple):
    """A column that arrives ten times too large from a day on; an example of its values."""

    table: str
    column: str
    since: date
    example: float

    @property
    def place(self) -> str:
        return f"{self.table}.{self.column}"

    def plant(self, tables: Tables) -> Tables:
        """The tables with the fault."""
        rows = tables[self.table]
        faulty = rows[DATA.table(self.table).moment] >= midnight(self.since)
        values = rows[self.column].where(~faulty, FACTOR * rows[self.column])
        return {**tables, self.table: rows.assign(**{self.column: values})}


def choose_fault(tables: Tables, since: date) -> Fault:
    """The first column that the contract accepts on that day, and refuses ten times too large. Raises NoFault."""
    day = sources.cut(tables, midnight(since), midnight(since + timedelta(days=1)))
    for table, column in _columns(day):
        values = day[table][column].dropna()
        if values.empty:
            continue
        fault = Fault(table, column, since, float(values.iloc[0]))
        if not _violations(day, table) and _violations(fault.plant(day), table):
            return fault
    raise NoFault(
        f"no number in the feed of {since} is outside its limits when it is {FACTOR} times too large: give a column "
        "of problem/data.py limits in its contract, such as between((0, 60), 'minutes')"
    )


def _violations(day: Tables, table: str) -> tuple[str, ...]:
    return contract.violations_of_day(day, table, day[table])


def _columns(tables: Tables) -> Iterator[tuple[str, str]]:
    """The numbers of each table: first those whose drift the exploration report shows. Never the label's."""
    for table in sorted(DATA.long, key=lambda table: table.name == DATA.entities):
        rows = tables[table.name]
        numbers = [name for name in map(str, rows.select_dtypes("number")) if name != PROBLEM.label.column]
        shown = [name for name in DATA.drift_of.get(table.name, ()) if name in numbers]
        yield from ((table.name, name) for name in dict.fromkeys([*shown, *numbers]))
