"""The engine of the tables' contract: known dirt is repaired or noted by name, and what is left must hold.

What the rules are is the problem's affair (`ontime.problem.data`). Here they are applied, counted and told.
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
    """The tables are not what everything downstream relies on. Names table, column, rule, count, first rows."""


def clean(tables: Tables) -> tuple[Tables, dict[str, pd.DataFrame], dict[str, Any]]:
    """The tables with known dirt repaired, the rows set aside (with the rule as `reason`), and the report.

    Raises ContractBroken when what is left does not hold. Every rule is counted on the tables as they came.
    """
    refuse_missing_columns(tables)
    hits = {rule.name: rule.hits(tables) for rule in DATA.dirt}
    if much := [line for table in DATA.long for line in _too_much_dirt(tables, table, hits)]:
        raise ContractBroken("\n".join([BROKEN, *much]))
    kept, set_aside = _set_aside(_repair(tables, hits), hits)
    check(kept)
    return kept, set_aside, _report(tables, {name: int(rows.sum()) for name, rows in hits.items()})


def refuse_missing_columns(tables: Tables) -> None:
    """Raise ContractBroken before a rule meets one, which would only say KeyError."""
    broken = [f"  {table.name}: there is no such table" for table in DATA.tables if table.name not in tables]
    broken = broken or _missing(tables, small=True)  # long tables refer to the small ones
    if broken := broken or _missing(tables, small=False):
        raise ContractBroken("\n".join([BROKEN, *broken]))


def _missing(tables: Tables, *, small: bool) -> list[str]:
    lines = []
    for table in DATA.tables:
        if (table.moment is None) is not small:
            continue
        contract = table.contract(tables)
        wanted = [name for name, column in contract.columns.items() if column.required]
        # What everything else relies on, whatever the contract says.
        wanted += [*([table.moment] if table.moment else []), *table.known.columns]
        if table.name == DATA.entities:
            label = PROBLEM.label
            wanted += [KEY, *PROBLEM.request.model_fields, DATA.event_at, label.column, label.known_at]
        absent = [name for name in dict.fromkeys(wanted) if name not in tables[table.name]]
        lines += [f"  {table.name}.{name}: column_in_dataframe" for name in absent]
    return lines


def _too_much_dirt(tables: Tables, table: Table, hits: Mapping[str, pd.Series]) -> list[str]:
    """One line a rule that would empty so many rows of a day that they can hardly be broken ones."""
    lines = []
    for rule in DATA.dirt:
        if rule.table != table.name or not rule.emptied:
            continue
        if (rows := in_bulk(hits[rule.name], tables[table.name][table.moment], rule.at_most)).any():
            most = f"over {rule.at_most:.0%} of a day's rows are not repaired"
            lines.append(f"  {rule.table}.{rule.column}: {rule.name}: {rows.sum()} rows; {most}: another unit?")
    return lines


def _repair(tables: Tables, hits: Mapping[str, pd.Series]) -> Tables:
    kept = {**tables, **{table.name: tables[table.name].copy() for table in DATA.long}}
    for rule in DATA.dirt:
        if rule.emptied:
            kept[rule.table].loc[hits[rule.name], list(rule.emptied)] = None
    repaired: Tables = kept
    for rule in DATA.dirt:
        if rule.repair is not None:
            repaired = rule.repair(repaired, hits[rule.name])
    return repaired


def _set_aside(tables: Tables, hits: Mapping[str, pd.Series]) -> tuple[Tables, dict[str, pd.DataFrame]]:
    kept, aside = dict(tables), dict[str, pd.DataFrame]()
    for rule in DATA.dirt:
        if rule.action == "set aside":
            rows = kept[rule.table][hits[rule.name].loc[kept[rule.table].index]]
            aside[rule.table] = pd.concat([aside.get(rule.table, rows[:0]), rows.assign(reason=rule.name)])
            kept[rule.table] = kept[rule.table].drop(index=rows.index)
    return kept, aside


def _report(tables: Tables, counts: Mapping[str, int]) -> dict[str, Any]:
    return {
        "rows": {name: len(table) for name, table in tables.items()},
        "labelled": int(tables[DATA.entities][PROBLEM.label.column].notna().sum()),
        **{name: count(tables) for name, count in DATA.counts.items()},
        "rules": [
            {"rule": rule.name, "table": rule.table, "column": rule.column, "action": rule.action,
             "hits": counts[rule.name], "reason": rule.reason}
            for rule in DATA.dirt
        ],
    }  # fmt: skip


def check(tables: Tables) -> None:
    """Raise ContractBroken with every broken rule of every table, or return."""
    if broken := [line for table in DATA.tables for line in _broken(tables, table)]:
        raise ContractBroken("\n".join([BROKEN, *broken]))


def violations_of_day(tables: Tables, name: str, rows: pd.DataFrame) -> tuple[str, ...]:
    """What one day's rows of a table break after known dirt is repaired, one line a rule.

    The other tables stay as they are: they are what the day's rows refer to.
    """
    day, table = {**tables, name: rows}, DATA.table(name)
    refuse_missing_columns(day)
    hits = {rule.name: rule.hits(day) for rule in DATA.dirt}
    kept, _ = _set_aside(_repair(day, hits), hits)
    return tuple(line.strip() for line in [*_too_much_dirt(day, table, hits), *_broken(kept, table)])


def _broken(tables: Tables, table: Table) -> list[str]:
    """One line for each rule that this table breaks."""
    rows = tables[table.name]
    if rows.empty:
        return [f"  {table.name}: has no rows"]
    broken = _violations(table.contract(tables), rows)
    if table.rules:
        broken += _violations(_whole_rows(table.name, rows, table.rules), rows.iloc[:, 0].rename(table.name))
    if table.name == DATA.entities and not broken:
        broken += [f"  {line}" for line in requests.differing(rows)]
    return broken


def _whole_rows(name: str, rows: pd.DataFrame, rules: Mapping[str, Holds]) -> pa.SeriesSchema:
    """Rules over whole rows, held against the first column of the table, which names a row.

    Held against the table, pandera would list each broken row once a column: a minute for a year of wrong clocks.
    """

    def check(rule: str, holds: Holds) -> pa.Check:
        return pa.Check(lambda _: holds(rows), error=rule, ignore_na=False)

    return pa.SeriesSchema(checks=[check(rule, holds) for rule, holds in rules.items()], nullable=True, name=name)


def _violations(contract: pa.DataFrameSchema | pa.SeriesSchema, table: Any) -> list[str]:
    """One line a broken rule: table, column, rule, count, first rows. `table` is what this contract takes."""
    try:
        # PANDERA_VALIDATION_ENABLED=false in the environment would let everything pass.
        with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
            contract.validate(table, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
        return [_line(str(contract.name), str(column), str(rule), rows) for (_, rule, column), rows in _by_rule(cases)]
    return []


def _by_rule(cases: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str], pd.DataFrame]]:
    """pandera lists a row whose key is not unique once for each column of the key; here it is one case."""
    of_table = (cases["schema_context"] == "DataFrameSchema") & cases["index"].notna()
    once = cases[~of_table | ~cases.duplicated(["schema_context", "check", "index"])]
    rules = once.assign(column=once["column"].mask(of_table, "")).groupby(["schema_context", "check", "column"])
    yield from rules  # type: ignore[misc]  # the stubs know no tuples of keys


def _line(name: str, column: str, rule: str, cases: pd.DataFrame) -> str:
    first = cases.head(SHOWN_ROWS)
    if rule.startswith("column_in_"):  # one too many or too few: the case is its name
        return f"  {name}.{first['failure_case'].iloc[0]}: {rule}"
    shown = ", ".join(f"row {row}: {value!r}" for row, value in zip(first["index"], first["failure_case"], strict=True))
    place = name if column in ("", name) else f"{name}.{column}"
    return f"  {place}: {rule}: {len(cases)} rows; first {shown}"
