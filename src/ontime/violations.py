"""The broken rules of a contract: those of a table, found by pandera, and those of several months added up."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pandas as pd
import pandera.pandas as pa
from pandera.config import ValidationDepth, config_context

from ontime.checks import AT_MOST

SHOWN_ROWS = 3


class Violation(NamedTuple):
    """A rule, and the rows that break it. If it has `values`, the share `at_most` of them may break it."""

    place: str  # a table, or a column of one
    rule: str
    rows: int | None = None  # how many; None: it is the table as a whole that breaks the rule
    first: tuple[tuple[Any, Any], ...] = ()  # the number of each of the first rows, and its value
    note: str = ""
    values: int = 0
    at_most: float = 0.0
    unit: str = "row"  # of `rows` and `first`

    @property
    def is_broken(self) -> bool:
        return self.rows is None or (self.rows / self.values if self.values else self.rows) > self.at_most

    def __str__(self) -> str:
        text = f"{self.place}: {self.rule}"
        if self.rows is None:
            return f"{text} {self.note}".rstrip()
        shown = "first " + ", ".join(f"{self.unit} {row}: {value!r}" for row, value in self.first) if self.first else ""
        return "; ".join(filter(None, [f"{text}: {self.rows} {self.unit}{'s' * (self.rows != 1)}", shown, self.note]))


def add_up(violations: Iterable[Violation]) -> list[Violation]:
    """One violation for each broken rule, with the rows of all months, which come in their order."""
    sums = dict[tuple[str, str], Violation]()
    for each in violations:
        before = sums.get((each.place, each.rule))
        sums[each.place, each.rule] = _sum(before, each) if before else each
    return [each for each in sums.values() if each.is_broken]


def _sum(one: Violation, other: Violation) -> Violation:
    if one.rows is None or other.rows is None:
        return one
    first = (one.first + other.first)[:SHOWN_ROWS]
    values, at_most = one.values + other.values, max(one.at_most, other.at_most)
    return one._replace(rows=one.rows + other.rows, first=first, values=values, at_most=at_most)


def violations_of(contract: pa.DataFrameSchema | pa.SeriesSchema, table: Any) -> list[Violation]:
    """The rules that the values of a DataFrame or Series break; a rule that a share of them may break is always listed.

    `add_up` removes such a rule if the share of all months is within its limit.
    """
    shares = [] if isinstance(contract, pa.SeriesSchema) else list(_shares(contract, table))
    try:
        # PANDERA_VALIDATION_ENABLED=false in the environment would disable the validation.
        with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
            contract.validate(table, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = _by_rule(error.failure_cases)
        return [_violation(str(contract.name), column, rule, rows) for (_, rule, column), rows in cases] + shares
    return shares


def _shares(contract: pa.DataFrameSchema, table: pd.DataFrame) -> Iterator[Violation]:
    for name, column in contract.columns.items():
        for check in column.checks:
            if AT_MOST in check.statistics and name in table:
                values, at_most = int(table[name].notna().sum()), check.statistics[AT_MOST]
                yield Violation(f"{contract.name}.{name}", str(check.error), 0, values=values, at_most=at_most)


def _by_rule(cases: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str], pd.DataFrame]]:
    """Failures by rule. pandera lists a duplicate key once for each column of the key; here it counts once."""
    of_table = (cases["schema_context"] == "DataFrameSchema") & cases["index"].notna()
    once = cases[~of_table | ~cases.duplicated(["schema_context", "check", "index"])]
    rules = once.assign(column=once["column"].mask(of_table, "")).groupby(["schema_context", "check", "column"])
    yield from rules  # type: ignore[misc]  # the stubs lack keys that are tuples


def _violation(name: str, column: str, rule: str, cases: pd.DataFrame) -> Violation:
    place = name if column in ("", name) else f"{name}.{column}"
    first = cases.head(SHOWN_ROWS)
    if rule.startswith("column_in_"):  # a missing or an undeclared column: the case is its name
        return Violation(f"{name}.{first['failure_case'].iloc[0]}", rule)
    if cases["index"].isna().all():  # the type of a column: the case is its name
        return Violation(place, rule, note=f"is expected, not {first['failure_case'].iloc[0]}")
    return Violation(place, rule, len(cases), tuple(zip(first["index"], first["failure_case"], strict=True)))
