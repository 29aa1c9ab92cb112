"""Applies the contract of the tables: repairs, quarantines or notes known data errors, then validates the rest.

The rules are declared in `ontime.problem.data`. This module applies them, counts the rows and reports violations.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import pandera.pandas as pa
from pandera.config import ValidationDepth, config_context

from ontime import requests
from ontime.checks import in_bulk
from ontime.datasets import KEY, Holds, Table, Tables
from ontime.problem import PROBLEM
from ontime.problem.data import DATA
from ontime.refusal import Refusal

SHOWN_ROWS = 3
BROKEN = "the tables break their contract:"


class ContractBroken(Refusal):
    """The tables violate their contract. The message names table, column, rule, number of rows and the first ones."""


def clean(tables: Tables) -> tuple[Tables, dict[str, pd.DataFrame], dict[str, Any]]:
    """Clean the tables; return them, the quarantined rows (with the rule as `reason`), and the report.

    Raises ContractBroken if the cleaned tables violate the contract. Every rule counts rows of the raw tables.
    """
    refuse_missing_columns(tables)
    hits = {rule.name: rule.hits(tables) for rule in DATA.known_errors}
    if excessive := [line for table in DATA.long for line in _excessive_errors(tables, table, hits)]:
        raise ContractBroken("\n".join([BROKEN, *excessive]))
    cleaned, quarantined = _quarantine(_repair(tables, hits), hits)
    check(cleaned)
    return cleaned, quarantined, _report(tables, {name: int(rows.sum()) for name, rows in hits.items()})


def refuse_missing_columns(tables: Tables) -> None:
    """Raise ContractBroken with every missing column, before a rule fails with a KeyError."""
    broken = [f"  {table.name}: the table is missing" for table in DATA.tables if table.name not in tables]
    broken = broken or _missing(tables, small=True)  # contracts of long tables refer to small ones
    if broken := broken or _missing(tables, small=False):
        raise ContractBroken("\n".join([BROKEN, *broken]))


def _missing(tables: Tables, *, small: bool) -> list[str]:
    lines = []
    for table in DATA.tables:
        if (table.moment is None) is not small:
            continue
        contract = table.contract(tables)
        required = [name for name, column in contract.columns.items() if column.required]
        # All other code needs these columns, whether or not the contract lists them.
        required += [*([table.moment] if table.moment else []), *table.availability.columns]
        if table.name == DATA.entities:
            label = PROBLEM.label
            required += [KEY, *PROBLEM.request.model_fields, DATA.event_at, label.column, label.known_at]
        absent = [name for name in dict.fromkeys(required) if name not in tables[table.name]]
        lines += [f"  {table.name}.{name}: column_in_dataframe" for name in absent]
    return lines


def _excessive_errors(tables: Tables, table: Table, hits: Mapping[str, pd.Series]) -> list[str]:
    """One line for each rule that would empty more of a day's rows than its `at_most`."""
    lines = []
    for rule in DATA.known_errors:
        if rule.table != table.name or not rule.emptied:
            continue
        if (rows := in_bulk(hits[rule.name], tables[table.name][table.moment], rule.at_most)).any():
            most = f"over {rule.at_most:.0%} of a day's rows are not repaired"
            lines.append(f"  {rule.table}.{rule.column}: {rule.name}: {rows.sum()} rows; {most}: another unit?")
    return lines


def _repair(tables: Tables, hits: Mapping[str, pd.Series]) -> Tables:
    copies = {**tables, **{table.name: tables[table.name].copy() for table in DATA.long}}
    for rule in DATA.known_errors:
        if rule.emptied:
            copies[rule.table].loc[hits[rule.name], list(rule.emptied)] = None
    repaired: Tables = copies
    for rule in DATA.known_errors:
        if rule.repair is not None:
            repaired = rule.repair(repaired, hits[rule.name])
    return repaired


def _quarantine(tables: Tables, hits: Mapping[str, pd.Series]) -> tuple[Tables, dict[str, pd.DataFrame]]:
    remaining, quarantined = dict(tables), dict[str, pd.DataFrame]()
    for rule in DATA.known_errors:
        if rule.action == "quarantined":
            rows = remaining[rule.table][hits[rule.name].loc[remaining[rule.table].index]]
            quarantined[rule.table] = pd.concat([quarantined.get(rule.table, rows[:0]), rows.assign(reason=rule.name)])
            remaining[rule.table] = remaining[rule.table].drop(index=rows.index)
    return remaining, quarantined


def _report(tables: Tables, counts: Mapping[str, int]) -> dict[str, Any]:
    return {
        "rows": {name: len(table) for name, table in tables.items()},
        "labelled": int(tables[DATA.entities][PROBLEM.label.column].notna().sum()),
        **{name: count(tables) for name, count in DATA.counts.items()},
        "rules": [
            {"rule": rule.name, "table": rule.table, "column": rule.column, "action": rule.action,
             "hits": counts[rule.name], "reason": rule.reason}
            for rule in DATA.known_errors
        ],
    }  # fmt: skip


def check(tables: Tables) -> None:
    """Raise ContractBroken with every broken rule of every table."""
    if broken := [line for table in DATA.tables for line in _broken(tables, table)]:
        raise ContractBroken("\n".join([BROKEN, *broken]))


def violations_of_day(tables: Tables, name: str, rows: pd.DataFrame) -> tuple[str, ...]:
    """The rules that one day's rows of a table break after the repairs, one line each.

    The other tables are used unchanged, because the day's rows refer to them.
    """
    day, table = {**tables, name: rows}, DATA.table(name)
    refuse_missing_columns(day)
    hits = {rule.name: rule.hits(day) for rule in DATA.known_errors}
    cleaned, _ = _quarantine(_repair(day, hits), hits)
    return tuple(line.strip() for line in [*_excessive_errors(day, table, hits), *_broken(cleaned, table)])


def _broken(tables: Tables, table: Table) -> list[str]:
    """One line for each rule that this table breaks."""
    rows = tables[table.name]
    if rows.empty:
        return [f"  {table.name}: has no rows"]
    broken = _violations(table.contract(tables), rows)
    if table.rules:
        broken += _violations(_whole_rows(table.name, rows, table.rules), rows.iloc[:, 0].rename(table.name))
    if table.name == DATA.entities and not broken:
        broken += [f"  {line}" for line in requests.request_errors(rows)]
    return broken


def _whole_rows(name: str, rows: pd.DataFrame, rules: Mapping[str, Holds]) -> pa.SeriesSchema:
    """Rules on whole rows, as checks of the table's first column.

    As checks of the table, pandera would list each broken row once for each column, which takes a minute for a year.
    """

    def check(rule: str, holds: Holds) -> pa.Check:
        return pa.Check(lambda _: holds(rows), error=rule, ignore_na=False)

    return pa.SeriesSchema(checks=[check(rule, holds) for rule, holds in rules.items()], nullable=True, name=name)


def _violations(contract: pa.DataFrameSchema | pa.SeriesSchema, table: Any) -> list[str]:
    """One line for each broken rule: table, column, rule, count, first rows. `table`: DataFrame or Series."""
    try:
        # PANDERA_VALIDATION_ENABLED=false in the environment would disable the validation.
        with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
            contract.validate(table, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
        return [_line(str(contract.name), str(column), str(rule), rows) for (_, rule, column), rows in _by_rule(cases)]
    return []


def _by_rule(cases: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str], pd.DataFrame]]:
    """Failures by rule. pandera lists a duplicate key once for each column of the key; here it counts once."""
    of_table = (cases["schema_context"] == "DataFrameSchema") & cases["index"].notna()
    once = cases[~of_table | ~cases.duplicated(["schema_context", "check", "index"])]
    rules = once.assign(column=once["column"].mask(of_table, "")).groupby(["schema_context", "check", "column"])
    yield from rules  # type: ignore[misc]  # the stubs lack keys that are tuples


def _line(name: str, column: str, rule: str, cases: pd.DataFrame) -> str:
    first = cases.head(SHOWN_ROWS)
    if rule.startswith("column_in_"):  # a missing or an undeclared column: the case is its name
        return f"  {name}.{first['failure_case'].iloc[0]}: {rule}"
    shown = ", ".join(f"row {row}: {value!r}" for row, value in zip(first["index"], first["failure_case"], strict=True))
    place = name if column in ("", name) else f"{name}.{column}"
    return f"  {place}: {rule}: {len(cases)} rows; first {shown}"
