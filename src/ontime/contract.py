"""Applies the contract of the tables: repairs, quarantines or notes known data errors, then validates the rest.

The rules are declared in `ontime.problem.data`. This module applies them to whole tables at once, or month by month:
then `clean_part` cleans the rows of a month, and `join_parts` adds up the months and says whether the contract holds.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import pandas as pd
import pandera.pandas as pa

from ontime import column_profiles, contract_parts, repeated_keys, requests, sources
from ontime.checks import in_bulk
from ontime.contract_parts import Part, Whole
from ontime.datasets import KEY, Holds, Table, Tables
from ontime.problem import PROBLEM
from ontime.problem.data import DATA
from ontime.refusal import Refusal
from ontime.violations import SHOWN_ROWS, Violation, add_up, violations_of

BROKEN = "the tables break their contract:"
Period = tuple[datetime, datetime]  # from the first moment until the second, exclusive


class ContractBroken(Refusal):
    """The tables violate their contract. The message names table, column, rule, number of rows and the first ones."""


def clean(tables: Tables, *, profiled: bool = True) -> tuple[Tables, dict[str, pd.DataFrame], dict[str, Any]]:
    """Clean the tables; return them, the quarantined rows (with the rule as `reason`), and the report.

    Raises ContractBroken if the cleaned tables violate the contract. Every rule counts rows of the raw tables.
    `profiled`: months of measured columns must look as in `Data.profile`; a few days of a feed cannot be judged by it.
    """
    part = clean_part(tables)
    if not profiled:
        part = part._replace(profiles=[])
    whole = join_parts([part], again=lambda: [part])
    return part.tables, whole.quarantined, whole.report


def clean_part(tables: Tables, period: Period | None = None) -> Part:
    """Clean the rows of a period. The tables may have other rows around them, which only the known errors look at.

    Raises ContractBroken for a missing column; the part lists all other violations of its tables with a moment.
    """
    refuse_missing_columns(tables)
    hits = {rule.name: rule.hits(tables) for rule in DATA.known_errors}
    raw, raw_hits = tables, hits
    if period:
        raw = sources.cut(tables, *period)
        raw_hits = {rule.name: hits[rule.name].loc[raw[rule.table].index] for rule in DATA.known_errors}
    counts, small_counts = _counts(raw, raw_hits)
    if excessive := [each for table in DATA.long for each in _excessive_errors(raw, table, raw_hits)]:
        return Part({}, {}, counts | {"cleaned": counts["rows"]}, small_counts, excessive, {}, [])
    cleaned, quarantined = _quarantine(_repair(tables, hits), hits)
    violations, keys = list[Violation](), repeated_keys.Hashes()
    if period:
        cleaned, quarantined = _own_rows(cleaned, raw), _own_rows(quarantined, raw)
        violations = [each for table in DATA.long for each in _moved_rows(cleaned[table.name], table, period)]
        for table in DATA.long:
            keys |= repeated_keys.hashes_of(table, _keys(table.contract(cleaned)), cleaned[table.name])
    counts["cleaned"] = {table.name: len(cleaned[table.name]) for table in DATA.long}
    violations += [each for table in DATA.long for each in _violations(cleaned, table)]
    profiles = [each for table in DATA.tables for each in column_profiles.profiles_of(table, cleaned[table.name])]
    return Part(cleaned, quarantined, counts, small_counts, violations, keys, profiles)


def join_parts(parts: Iterable[Part], again: Callable[[], Iterable[Part]]) -> Whole:
    """Add up the parts. Raises ContractBroken with every broken rule of all of them.

    `again` cleans the parts once more, to name the rows of a key that two of them have.
    """
    whole = contract_parts.add_parts(parts)
    small = [table for table in DATA.tables if table.moment is None and whole.tables]
    violations = whole.violations + [each for table in small for each in _violations_or_empty(whole.tables, table)]
    for (name, columns), hashes in whole.repeated.items():
        rows = (part.tables[name] for part in again() if part.tables)
        violations.append(repeated_keys.violation((name, columns), hashes, rows))
    if DATA.profile:
        extremes = column_profiles.read_extremes(DATA.profile)
        violations += column_profiles.violations_of_profiles(whole.profiles, extremes, DATA.profile)
    _refuse(violations)
    return whole


def repaired(tables: Tables) -> Tables:
    """The tables after the repairs, and without quarantined rows; not validated, and nothing is counted."""
    hits = {rule.name: rule.hits(tables) for rule in DATA.known_errors if rule.action != "noted"}
    some = {name: rows for name, rows in hits.items() if rows.any()}  # usually none, and this runs all the time
    return _quarantine(_repair(tables, some), some)[0] if some else tables


def check(tables: Tables) -> None:
    """Raise ContractBroken with every broken rule of every table."""
    _refuse([each for table in DATA.tables for each in _violations_or_empty(tables, table)])


def violations_of_day(tables: Tables, name: str, rows: pd.DataFrame) -> tuple[str, ...]:
    """The rules that one day's rows of a table break after the repairs, one line each.

    The other tables are used unchanged, because the day's rows refer to them.
    """
    day, table = {**tables, name: rows}, DATA.table(name)
    refuse_missing_columns(day)
    hits = {rule.name: rule.hits(day) for rule in DATA.known_errors}
    cleaned, _ = _quarantine(_repair(day, hits), hits)
    return tuple(map(str, add_up([*_excessive_errors(day, table, hits), *_violations_or_empty(cleaned, table)])))


def refuse_missing_columns(tables: Tables) -> None:
    """Raise ContractBroken with every missing column, before a rule fails with a KeyError."""
    _refuse([Violation(table.name, "the table is missing") for table in DATA.tables if table.name not in tables])
    for small in (True, False):  # contracts of long tables refer to small ones
        chosen = [table for table in DATA.tables if (table.moment is None) is small]
        _refuse([each for table in chosen for each in _missing(tables, table)])


def _refuse(violations: Iterable[Violation]) -> None:
    """Raise ContractBroken with each broken rule in a line."""
    if broken := add_up(violations):
        raise ContractBroken("\n".join([BROKEN, *(f"  {each}" for each in broken)]))


def _missing(tables: Tables, table: Table) -> list[Violation]:
    contract = table.contract(tables)
    required = [name for name, column in contract.columns.items() if column.required]
    # All other code needs these columns, whether or not the contract lists them.
    required += [*([table.moment] if table.moment else []), *table.availability.columns, *table.measured]
    if table.name == DATA.entities:
        label = PROBLEM.label
        required += [KEY, *PROBLEM.request.model_fields, DATA.event_at, label.column, label.known_at]
    absent = [name for name in dict.fromkeys(required) if name not in tables[table.name]]
    return [Violation(f"{table.name}.{name}", "column_in_dataframe") for name in absent]


def _counts(raw: Tables, hits: Mapping[str, pd.Series]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The counts of the tables with a moment, and of the small tables. Every rule counts rows of the raw tables."""

    def rows_and_hits(*, small: bool) -> dict[str, Any]:
        names = [table.name for table in DATA.tables if (table.moment is None) is small]
        rules = [rule for rule in DATA.known_errors if rule.table in names]
        return {
            "rows": {name: len(raw[name]) for name in names},
            "hits": {rule.name: int(hits[rule.name].sum()) for rule in rules},
        }

    labelled = int(raw[DATA.entities][PROBLEM.label.column].notna().sum())
    declared = {name: count(raw) for name, count in DATA.counts.items()}
    counts = rows_and_hits(small=False) | {"labelled": labelled, "declared": declared}
    return counts, rows_and_hits(small=True)


def _own_rows(tables: Mapping[str, pd.DataFrame], raw: Tables) -> dict[str, pd.DataFrame]:
    """Of the tables with a moment the rows that are in `raw`, by their numbers."""
    return {
        name: rows[rows.index.isin(raw[name].index)] if DATA.table(name).moment else rows
        for name, rows in tables.items()
    }


def _keys(contract: pa.DataFrameSchema) -> list[tuple[str, ...]]:
    """The columns of each key: one that is unique, or those that are unique together."""
    keys: list[tuple[str, ...]] = [(name,) for name, column in contract.columns.items() if column.unique]
    return [*keys, tuple(contract.unique)] if contract.unique else keys


def _moved_rows(rows: pd.DataFrame, table: Table, period: Period) -> list[Violation]:
    assert table.moment is not None  # noqa: S101  it is a table with a moment
    moments, (start, end) = rows[table.moment], period
    moved = moments[~((moments >= start) & (moments < end))]
    first = tuple(moved.head(SHOWN_ROWS).items())
    note = "repair the time in the dataset's `read`"
    return [Violation(f"{table.name}.{table.moment}", "a repair moves rows to another month", len(moved), first, note)]


def _excessive_errors(tables: Tables, table: Table, hits: Mapping[str, pd.Series]) -> list[Violation]:
    """One line for each rule that would empty more of a day's rows than its `at_most`."""
    lines = []
    for rule in DATA.known_errors:
        if rule.table != table.name or not rule.emptied:
            continue
        if (rows := in_bulk(hits[rule.name], tables[table.name][table.moment], rule.at_most)).any():
            note = f"over {rule.at_most:.0%} of a day's rows are not repaired: another unit?"
            lines.append(Violation(f"{rule.table}.{rule.column}", rule.name, int(rows.sum()), note=note))
    return lines


def _repair(tables: Tables, hits: Mapping[str, pd.Series]) -> Tables:
    """The tables after the repairs of the rules that have `hits`."""
    emptying = [rule for rule in DATA.known_errors if rule.emptied and rule.name in hits]
    copies = {**tables, **{name: tables[name].copy() for name in {rule.table for rule in emptying}}}
    for rule in emptying:
        copies[rule.table].loc[hits[rule.name], list(rule.emptied)] = None
    repaired: Tables = copies
    for rule in DATA.known_errors:
        if rule.repair is not None and rule.name in hits:
            repaired = rule.repair(repaired, hits[rule.name])
    return repaired


def _quarantine(tables: Tables, hits: Mapping[str, pd.Series]) -> tuple[Tables, dict[str, pd.DataFrame]]:
    remaining, quarantined = dict(tables), dict[str, pd.DataFrame]()
    for rule in DATA.known_errors:
        if rule.action == "quarantined" and rule.name in hits:
            rows = remaining[rule.table][hits[rule.name].loc[remaining[rule.table].index]]
            quarantined[rule.table] = pd.concat([quarantined.get(rule.table, rows[:0]), rows.assign(reason=rule.name)])
            remaining[rule.table] = remaining[rule.table].drop(index=rows.index)
    return remaining, quarantined


def _whole_rows(name: str, rows: pd.DataFrame, rules: Mapping[str, Holds]) -> pa.SeriesSchema:
    """Rules on whole rows, as checks of the table's first column.

    As checks of the table, pandera would list each broken row once for each column, which takes a minute for a year.
    """

    def check(rule: str, holds: Holds) -> pa.Check:
        return pa.Check(lambda _: holds(rows), error=rule, ignore_na=False)

    return pa.SeriesSchema(checks=[check(rule, holds) for rule, holds in rules.items()], nullable=True, name=name)


def _violations_or_empty(tables: Tables, table: Table) -> list[Violation]:
    return [Violation(table.name, "has no rows")] if tables[table.name].empty else _violations(tables, table)


def _violations(tables: Tables, table: Table) -> list[Violation]:
    """The rules that the rows of this table break; none without rows."""
    rows = tables[table.name]
    if rows.empty:
        return []
    violations = violations_of(table.contract(tables), rows)
    if table.rules:
        violations += violations_of(_whole_rows(table.name, rows, table.rules), rows.iloc[:, 0].rename(table.name))
    if table.name == DATA.entities and not add_up(violations):
        rule = "a request cannot be made of"
        violations += [Violation(table.name, rule, note=row) for row in requests.request_errors(rows)]
    return violations
