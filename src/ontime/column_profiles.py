"""What each month of a measured column looks like, and whether it looks as in the months of the reference dataset.

Values within their range can still mean something else: one reading instead of an hour's sum, or another unit. A day is
too few rows to tell that from unusual weather; a month is enough. The limits follow from the extremes of the reference
dataset's months, which `ontime profile` writes to `Data.profile`.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ontime import sources
from ontime.datasets import Table
from ontime.violations import SHOWN_ROWS, Violation

STATISTICS = {
    "filled": "share of rows with a value",
    "nonzero": "share of values that are not 0",
    "magnitude": "mean size of the values that are not 0",
}
MIN_DAYS = 25  # a month with rows of fewer days, such as the last one before known_until, is not compared
LEAST_MARGIN = 1.25  # no factor of a wrong unit is closer to 1, except knots read as mph or km/h as knots
ALL_ROWS = "all rows"  # the period of a table without a moment
Extremes = Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]]  # table -> column -> statistic -> least, most


class Profile(NamedTuple):
    """A column in a period: a month, or all rows of a table without a moment."""

    table: str
    column: str
    period: str
    values: Mapping[str, float]  # of STATISTICS; NaN without values
    constant: float | None  # the value, if all values are the same

    @property
    def place(self) -> str:
        return f"{self.table}.{self.column}"


def profiles_of(table: Table, rows: pd.DataFrame) -> list[Profile]:
    """The profiles of a table's measured columns, for each month that has enough days."""
    # A column of another type breaks the contract, which says so.
    columns = [name for name in table.measured if pd.api.types.is_numeric_dtype(rows[name])]
    periods = _months(table.moment, rows) if table.moment else {ALL_ROWS: rows}
    return [_profile(table.name, name, period, part[name]) for name in columns for period, part in periods.items()]


def _months(moment: str, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    months = rows.groupby(sources.months_of(rows[moment]))
    return {str(month): part for month, part in months if sources.days_of(part[moment]).nunique() >= MIN_DAYS}


def _profile(table: str, column: str, period: str, values: pd.Series) -> Profile:
    present = values.dropna()
    nonzero = present[present != 0]
    statistics = {
        "filled": float(values.notna().mean()),
        "nonzero": float((present != 0).mean()),
        "magnitude": float(nonzero.abs().mean()),
    }
    return Profile(table, column, period, statistics, float(present.iloc[0]) if present.nunique() == 1 else None)


def extremes_of(profiles: Iterable[Profile]) -> Extremes:
    """The least and the most of each statistic, over the periods that have it, to four digits."""
    extremes: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    for (table, column), group in _by_column(profiles):
        values = {
            name: [each.values[name] for each in group if not math.isnan(each.values[name])] for name in STATISTICS
        }
        extremes.setdefault(table, {})[column] = {
            name: (float(f"{min(those):.4g}"), float(f"{max(those):.4g}")) for name, those in values.items() if those
        }
    return extremes


def limits(least: float, most: float) -> tuple[float, float]:
    """The extremes, moved apart by the square root of their ratio, and at least by LEAST_MARGIN.

    So a column that changes much from month to month has wide limits, and one that hardly changes has narrow ones.

    >>> limits(0.04, 0.16), limits(1000, 1000)
    ((0.02, 0.32), (800.0, 1250.0))
    """
    margin = max(LEAST_MARGIN, math.sqrt(most / least)) if least else LEAST_MARGIN
    return least / margin, most * margin


def violations_of_profiles(profiles: Iterable[Profile], extremes: Extremes, path: Path) -> list[Violation]:
    """A violation for each statistic that is outside its limits, with the months in which it is.

    A column that is empty in every month is accepted: this is how an adapter says that its values are not known.
    """
    violations = list[Violation]()
    for (table, column), group in _by_column(profiles):
        if all(each.values["filled"] == 0 for each in group):
            continue
        if (ranges := extremes.get(table, {}).get(column)) is None:
            violations.append(Violation(group[0].place, f"is not in {path.name}: run `ontime profile`"))
            continue
        for name, (least, most) in ranges.items():
            low, high = limits(least, most)
            outside = {each.period: value for each in group if (value := each.values[name]) < low or value > high}
            violations += _violation(group[0].place, f"{STATISTICS[name]} between {low:.3g} and {high:.3g}", outside)
        constant = {each.period: each.constant for each in group if each.constant is not None}
        violations += _violation(group[0].place, "has more than one value", constant)
    return violations


def _violation(place: str, rule: str, periods: Mapping[str, float]) -> list[Violation]:
    first = tuple((period, float(f"{value:.3g}")) for period, value in list(periods.items())[:SHOWN_ROWS])
    return [Violation(place, rule, len(periods), first, unit="month")] if periods else []


def _by_column(profiles: Iterable[Profile]) -> Iterator[tuple[tuple[str, str], list[Profile]]]:
    ordered = sorted(profiles, key=lambda each: each[:3])
    for key, group in groupby(ordered, key=lambda each: each[:2]):
        yield key, list(group)


@cache
def read_extremes(path: Path) -> Extremes:
    extremes: Extremes = json.loads(path.read_text(encoding="utf-8"))
    return extremes


def as_text(extremes: Extremes) -> str:
    """The content of the file: a line for each column."""
    tables = (
        f"  {json.dumps(table)}: {{\n"
        + ",\n".join(f"    {json.dumps(column)}: {json.dumps(ranges)}" for column, ranges in columns.items())
        + "\n  }"
        for table, columns in extremes.items()
    )
    return "{\n" + ",\n".join(tables) + "\n}\n"
