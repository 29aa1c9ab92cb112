"""Adds up what the contract says of each month: counts, violations and quarantined rows."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from ontime import repeated_keys
from ontime.datasets import Tables
from ontime.problem.data import DATA
from ontime.violations import Violation

Counts = Mapping[str, Any]


class Part(NamedTuple):
    """Tables after the contract: whole ones, or the rows of a month and the small tables, which have no moment."""

    tables: Tables  # none, if their errors were too many to be repaired
    quarantined: Mapping[str, pd.DataFrame]  # with the rule as `reason`
    counts: Counts  # of the tables with a moment, to be added
    small_counts: Counts  # of the small tables, the same for each month
    violations: list[Violation]
    keys: repeated_keys.Hashes


class Whole(NamedTuple):
    """All parts together. `tables` has the small tables."""

    tables: Tables
    quarantined: dict[str, pd.DataFrame]
    report: dict[str, Any]  # reports/data_quality.json
    violations: list[Violation]
    repeated: repeated_keys.Hashes


def add_parts(parts: Iterable[Part]) -> Whole:
    """Add up the parts as they come. At most what they quarantine, and 8 bytes for each key, is kept of all of them."""
    counts: Counts = {}
    small_counts: Counts = {}
    small: Tables = {}
    violations, keys = list[Violation](), list[repeated_keys.Hashes]()
    quarantined = dict[str, list[pd.DataFrame]]()
    for part in parts:
        counts, small_counts = _sum(counts, part.counts), part.small_counts
        violations += part.violations
        keys.append(part.keys)
        for name, rows in part.quarantined.items():
            if DATA.table(name).moment or not small:
                quarantined.setdefault(name, []).append(rows)
        if part.tables:
            own = {table.name: part.tables[table.name] for table in DATA.tables if table.moment is None}
            violations += _different(small, own) if small else []
            small = small or own
    empty = [Violation(table.name, "has no rows") for table in DATA.long if not counts["cleaned"][table.name]]
    return Whole(
        small,
        {name: _by_rule(rows) for name, rows in quarantined.items()},
        _report(counts, small_counts),
        violations + empty,
        repeated_keys.in_several_months(keys),
    )


def _sum(one: Any, other: Any) -> Any:
    """The sum of two numbers, or of the numbers in two mappings."""
    if isinstance(one, Mapping):
        return {**one, **{name: _sum(one[name], value) if name in one else value for name, value in other.items()}}
    return one + other


def _different(small: Tables, others: Tables) -> Iterator[Violation]:
    """A repair may depend on the rows of the month: then no month alone says what the small table is."""
    for name, rows in others.items():
        if not rows.equals(small[name]):
            rule = "is not the same with each month: its rules and repairs must not depend on a table with a moment"
            yield Violation(name, rule)


def _by_rule(months: list[pd.DataFrame]) -> pd.DataFrame:
    """The quarantined rows of all months in the order of the rules."""
    rows = pd.concat(months)
    order = {rule.name: number for number, rule in enumerate(DATA.known_errors)}
    return rows.iloc[rows["reason"].map(order).to_numpy().argsort(kind="stable")]


def _report(counts: Counts, small_counts: Counts) -> dict[str, Any]:
    rows, hits = ({**counts[name], **small_counts[name]} for name in ("rows", "hits"))
    return {
        "rows": {table.name: rows[table.name] for table in DATA.tables},
        "labelled": counts["labelled"],
        **counts["declared"],
        "rules": [
            {"rule": rule.name, "table": rule.table, "column": rule.column, "action": rule.action,
             "hits": hits[rule.name], "reason": rule.reason}
            for rule in DATA.known_errors
        ],
    }  # fmt: skip
