"""Renders the files of a new problem from templates and the columns of a file."""

import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd

from ontime.environment import ROOT
from pipelines.tools.column_roles import ColumnRoles
from pipelines.tools.column_types import Column, Kind

TEMPLATES = Path(__file__).with_name("templates")
FILES = {
    "problem/__init__.py": "problem.py",
    "problem/data.py": "data.py",
    "problem/online_features.py": "online_features.py",
    "params.yaml": "params.yaml",
}
WEEKS_OF_LABELS = 3
# Applied to rendered code: the templates import whatever any problem may need, and do not wrap lines.
RUFF_COMMANDS = (("check", "--fix", "--quiet", "--select", "F401,I"), ("format", "--quiet"))


def problem_files(roles: ColumnRoles) -> dict[str, str]:
    """The contents of the problem's files, by path."""
    values = {**_problem_values(roles), **_example_values(roles), **_data_values(roles), **_params_values(roles)}
    files = {**FILES, f"tests/test_{roles.name.replace('-', '_')}.py": "test.py"}
    return {path: _rendered(TEMPLATES / f"{template}.template", values) for path, template in files.items()}


def _rendered(template: Path, values: Mapping[str, Any]) -> str:
    text = Template(template.read_text(encoding="utf-8")).substitute(values)
    if template.stem.endswith(".py"):
        for arguments in RUFF_COMMANDS:
            command = [sys.executable, "-m", "ruff", *arguments, "--config", str(ROOT / "pyproject.toml"), "--no-cache",
                       "--stdin-filename", template.stem, "-"]  # fmt: skip
            text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603  our own words
    return text


def _problem_values(roles: ColumnRoles) -> dict[str, Any]:
    fewest = sorted(roles.categories, key=lambda each: each.values.nunique())[:1]
    weekdays = 'Slice("day", "weekday", {"Monday to Friday": (0, 5), "weekend": (5, 7)})'
    sides = [*(f'Cell("{each.name}")' for each in fewest), 'Cell("weekday")']
    slices = [*(f'Slice("{each.name}", "{each.name}")' for each in fewest), weekdays]
    keyed = [each.name for each in roles.key if each is not roles.time]
    stamp = f"{{self.{roles.time.name}.astimezone(UTC):{roles.time.stamp}}}"
    parts = [f"{{self.{name}}}" for name in keyed] + [stamp] * (roles.time in roles.key)
    limits = {each.name: each.limits for each in (*roles.numbers, roles.label)}
    return {
        "name": roles.name, "file": roles.file, "label": roles.label.name, "time": roles.time.name,
        "limits": limits,
        "key": " and ".join([roles.time.name, *(keyed if roles.time not in roles.key else [])]),
        "fields": "\n".join(f"    {each.name}: {_annotation(each, roles)}" for each in roles.fields),
        "entity_id": f'f"{"-".join(parts)}"',
        "not_features": tuple(each.name for each in roles.fields if each not in roles.features),
        "baseline": _tuple(sides), "slices": _tuple(slices),
    }  # fmt: skip


def _tuple(entries: Sequence[str]) -> str:
    return f"({', '.join(entries)}{',' * (len(entries) == 1)})"


def _annotation(column: Column, roles: ColumnRoles) -> str:
    if column is roles.time:
        return "Time" if column.has_seconds else "Minute"
    if column not in roles.features:
        return (
            "Annotated[int, Field(ge=0)]" if column.kind is Kind.WHOLE else "Annotated[str, Field(pattern=ENTITY_ID)]"
        )
    limited = f'within("{column.name}")'
    return {
        Kind.WHOLE: f"Annotated[int, {limited}]",
        Kind.NUMBER: f"Annotated[float | None, {limited}] = None" if column.missing else f"Annotated[float, {limited}]",
        Kind.FLAG: "bool",
        Kind.CATEGORY: "Annotated[str, Field(min_length=1, max_length=100)]",
    }[column.kind]


def _example_values(roles: ColumnRoles) -> dict[str, Any]:
    """An example row, from the test period if it has labelled rows, with as few missing values as possible."""
    value, times = roles.label.numbers, roles.time.values
    in_test = times.dt.date >= roles.split[2]
    fields = pd.DataFrame({each.name: each.values for each in roles.fields})
    labelled = value.notna()
    pool = np.flatnonzero(in_test & labelled if (in_test & labelled).any() else labelled)
    place = int(pool[fields.iloc[pool].isna().sum(axis=1).to_numpy().argmin()])
    row = fields.iloc[place]
    plain = {
        each.name: repr("unknown" if each.kind is Kind.CATEGORY else None) if pd.isna(row[each.name])
        else repr(row[each.name].item() if hasattr(row[each.name], "item") else row[each.name])
        for each in roles.fields if each is not roles.time
    }  # fmt: skip
    moment, row_value = row[roles.time.name], float(value.iloc[place])
    parts = [moment.year, moment.month, moment.day, moment.hour, moment.minute]
    parts += [moment.second, moment.microsecond] if roles.time.has_seconds else []
    return {
        "example_at": ", ".join(map(str, parts)),
        "example_zone": "UTC" if moment.tzinfo else "ZoneInfo(ZONE)",
        "example": "{" + ", ".join(f'"{name}": {text}' for name, text in
                                    {roles.time.name: "EXAMPLE_AT.isoformat()", **plain}.items()) + "}",
        "example_label": row_value >= roles.label.least_positive, "example_value": f"{row_value:g}",
    }  # fmt: skip


def _data_values(roles: ColumnRoles) -> dict[str, Any]:
    time, label, in_words = roles.time, roles.label, roles.label.kind is Kind.CATEGORY
    used = [*roles.fields, label]
    left_out = ", ".join(f"{each.source!r} ({each.kind})" for each in roles.columns if each not in used)
    parts = [f'raw["{each.name}"].astype("str")' for each in roles.key if each is not time]
    parts += [f'at.dt.strftime("{time.stamp}")'] * (time in roles.key)
    texts = [
        each.name
        for each in roles.key
        if each is not time and each.kind is not Kind.WHOLE and each not in roles.features
    ]
    aware = isinstance(time.values.dtype, pd.DatetimeTZDtype)
    parse = f'at = pd.to_datetime(raw["{time.name}"], format={time.format!r}'
    localised = """
    # Times in the hour that autumn repeats are taken as the second; times that spring skips move to the next valid one.
    second = np.zeros(len(raw), bool)
    at = at.dt.tz_localize(ZONE, ambiguous=second, nonexistent="shift_forward").dt.tz_convert("UTC")"""
    return {
        "reader": 'pd.read_parquet(FILE).replace("", np.nan)  # empty strings are missing, as in read_csv'
        if roles.file.endswith(".parquet") else "pd.read_csv(FILE)",
        "left_out": _comment(f"Left out, because they cannot be features as they are: {left_out}") if left_out else "",
        "columns": {each.name: each.source for each in used},
        "labels": f"# DECIDE: which of the two is positive (1)?\nLABELS = {label.labels}\n" if in_words else "",
        "read_time": f"{parse}, utc=True)" if aware else f"{parse}){localised}",
        "entity_id_column": ' + "-" + '.join(parts),
        "read_label": f'raw["{label.name}"].map(lambda text: LABELS[str(text)], na_action="ignore").astype(float)'
        if in_words else f'raw["{label.name}"].astype(float)',
        "texts": f"(*CATEGORIES, {', '.join(map(repr, texts))})" if texts else "CATEGORIES",
        "first_day": f"date({roles.first_day:%Y}, {roles.first_day.month}, {roles.first_day.day})",
        "last_day": f"date({roles.last_day:%Y}, {roles.last_day.month}, {roles.last_day.day})",
        "rows": len(time.values), "labelled": int(label.values.notna().sum()),
    }  # fmt: skip


def _comment(text: str) -> str:
    return textwrap.fill(text, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False) + "\n"


def _params_values(roles: ColumnRoles) -> dict[str, Any]:
    days = (roles.last_day - roles.first_day).days + 1
    labels_per_day = roles.label.values.notna().sum() / days
    names = [*(each.name for each in roles.features), "weekday", "minute_of_day"]
    periods = ("train_from", "valid_from", "test_from", "test_until")
    binary = roles.label.numbers.nunique() == 2
    return {
        **dict(zip(periods, roles.split, strict=True)),
        "at_least": f"{roles.label.least_positive:g}",
        "decide_at_least": "" if binary else f"  # DECIDE: from which {roles.label.name} on is a row positive?\n",
        "drift_features": f"[{', '.join(names)}]",
        "min_labels": max(1, round(7 * WEEKS_OF_LABELS * labels_per_day)),
        "shadow_labels": max(1, round(2 * labels_per_day)),
    }  # fmt: skip
