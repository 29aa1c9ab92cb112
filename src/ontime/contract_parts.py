"""Adds up what the contract says of each month: counts, violations and quarantined rows."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from ontime import repeated_keys
from ontime.column_profiles import Profile
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
    profiles: list[Profile]


class Whole(NamedTuple):
    """All parts together."""

    tables: Tables  # of the first part, whose small tables are those of all
    quarantined: dict[str, pd.DataFrame]
    report: dict[str, Any]  # reports/data_quality.json
    violations: list[Violation]
    repeated: repeated_keys.Hashes
    profiles: list[Profile]


def add_parts(parts: Iterable[Part]) -> Whole:
    """Add up the parts as they come. At most what they quarantine, and 8 bytes for each key, is kept of all of them."""
    first: Part | None = None  # of those that have tables
    counts: Counts = {}
    violations, keys, profiles = list[Violation](), list[repeated_keys.Hashes](), list[Profile]()
    quarantined = dict[str, list[pd.DataFrame]]()
    for part in parts:
        counts = _sum(counts, part.counts)
        violations += part.violations
        keys.append(part.keys)
        if not part.tables:
            continue
        first = first or part
        violations += _different(first, part)
        profiles += [each for each in part.profiles if DATA.table(each.table).moment or part is first]
        for name, rows in part.quarantined.items():
            if DATA.table(name).moment or part is first:
                quarantined.setdefault(name, []).append(rows)
    empty = [Violation(table.name, "has no rows") for table in DATA.long if not counts["cleaned"][table.name]]
    return Whole(
        first.tables if first else {},
        {name: _by_rule(rows) for name, rows in quarantined.items()},
        _report(counts, part.small_counts),
        violations + empty,
        repeated_keys.in_several_months(keys),
        profiles,
    )


def _sum(one: Any, other: Any) -> Any:
    """The sum of two numbers, or of the numbers in two mappings."""
    if isinstance(one, Mapping):
        return {**one, **{name: _sum(one[name], value) if name in one else value for name, value in other.items()}}
    return one + other


def _different(one: Part, other: Part) -> Iterator[Violation]:
    """The small tables whose rows or errors are not the same: then no month alone says what they are."""
    hits, other_hits = one.small_counts["hits"], other.small_counts["hits"]
    depending = {rule.table for rule in DATA.known_errors if hits.get(rule.name) != other_hits.get(rule.name)}
    for table in DATA.tables:
        name = table.name
        if table.moment is None and (name in depending or not one.tables[name].equals(other.tables[name])):
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
