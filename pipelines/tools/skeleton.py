"""A new problem as texts: the templates, filled in with what the columns of a file hold."""

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
from pipelines.tools.column_roles import Choice
from pipelines.tools.column_types import Column, Kind

TEMPLATES = Path(__file__).with_name("templates")
FILES = {
    "problem/__init__.py": "problem.py",
    "problem/data.py": "data.py",
    "problem/online_features.py": "online_features.py",
    "params.yaml": "params.yaml",
}
WEEKS_OF_LABELS = 3
# Runs after the templates: they import whatever any problem may need, and know nothing of the width of a line.
RUFF = (("check", "--fix", "--quiet", "--select", "F401,I"), ("format", "--quiet"))


def texts(choice: Choice) -> dict[str, str]:
    """The files of the problem, by path."""
    values = {**_of_the_problem(choice), **_of_the_example(choice), **_of_the_data(choice), **_of_the_params(choice)}
    files = {**FILES, f"tests/test_{choice.name.replace('-', '_')}.py": "test.py"}
    return {path: _filled(TEMPLATES / f"{template}.template", values) for path, template in files.items()}


def _filled(template: Path, values: Mapping[str, Any]) -> str:
    text = Template(template.read_text(encoding="utf-8")).substitute(values)
    if template.stem.endswith(".py"):
        for words in RUFF:
            command = [sys.executable, "-m", "ruff", *words, "--config", str(ROOT / "pyproject.toml"), "--no-cache",
                       "--stdin-filename", template.stem, "-"]  # fmt: skip
            text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603  our own words
    return text


def _of_the_problem(choice: Choice) -> dict[str, Any]:
    fewest = sorted(choice.categories, key=lambda each: each.values.nunique())[:1]
    weekdays = 'Slice("day", "weekday", {"Monday to Friday": (0, 5), "weekend": (5, 7)})'
    sides = [*(f'Cell("{each.name}")' for each in fewest), 'Cell("weekday")']
    slices = [*(f'Slice("{each.name}", "{each.name}")' for each in fewest), weekdays]
    keyed = [each.name for each in choice.key if each is not choice.time]
    stamp = f"{{self.{choice.time.name}.astimezone(UTC):{choice.time.stamp}}}"
    parts = [f"{{self.{name}}}" for name in keyed] + [stamp] * (choice.time in choice.key)
    limits = {each.name: each.limits for each in (*choice.numbers, choice.label)}
    return {
        "name": choice.name, "file": choice.file, "label": choice.label.name, "time": choice.time.name,
        "limits": limits,
        "key": " and ".join([choice.time.name, *(keyed if choice.time not in choice.key else [])]),
        "fields": "\n".join(f"    {each.name}: {_annotation(each, choice)}" for each in choice.fields),
        "entity_id": f'f"{"-".join(parts)}"',
        "not_features": tuple(each.name for each in choice.fields if each not in choice.features),
        "baseline": _tuple(sides), "slices": _tuple(slices),
    }  # fmt: skip


def _tuple(entries: Sequence[str]) -> str:
    return f"({', '.join(entries)}{',' * (len(entries) == 1)})"


def _annotation(column: Column, choice: Choice) -> str:
    if column is choice.time:
        return "Time" if column.has_seconds else "Minute"
    if column not in choice.features:
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


def _of_the_example(choice: Choice) -> dict[str, Any]:
    """A row of the test period, with as little missing as there is."""
    value, at = choice.label.numbers, choice.time.values
    late = at.dt.date >= choice.split[2]
    told = pd.DataFrame({each.name: each.values for each in choice.fields})
    pool = np.flatnonzero(late & value.notna() if (late & value.notna()).any() else value.notna())
    place = int(pool[told.iloc[pool].isna().sum(axis=1).to_numpy().argmin()])
    row = told.iloc[place]
    plain = {
        each.name: repr("unknown" if each.kind is Kind.CATEGORY else None) if pd.isna(row[each.name])
        else repr(row[each.name].item() if hasattr(row[each.name], "item") else row[each.name])
        for each in choice.fields if each is not choice.time
    }  # fmt: skip
    moment, of_row = row[choice.time.name], float(value.iloc[place])
    parts = [moment.year, moment.month, moment.day, moment.hour, moment.minute]
    parts += [moment.second, moment.microsecond] if choice.time.has_seconds else []
    return {
        "example_at": ", ".join(map(str, parts)),
        "example_zone": "UTC" if moment.tzinfo else "ZoneInfo(ZONE)",
        "example": "{" + ", ".join(f'"{name}": {text}' for name, text in
                                    {choice.time.name: "EXAMPLE_AT.isoformat()", **plain}.items()) + "}",
        "example_label": of_row >= choice.label.least_positive, "example_value": f"{of_row:g}",
    }  # fmt: skip


def _of_the_data(choice: Choice) -> dict[str, Any]:
    time, label, in_words = choice.time, choice.label, choice.label.kind is Kind.CATEGORY
    kept = [*choice.fields, label]
    left_out = ", ".join(f"{each.source!r} ({each.kind})" for each in choice.columns if each not in kept)
    parts = [f'raw["{each.name}"].astype("str")' for each in choice.key if each is not time]
    parts += [f'at.dt.strftime("{time.stamp}")'] * (time in choice.key)
    texts = [
        each.name
        for each in choice.key
        if each is not time and each.kind is not Kind.WHOLE and each not in choice.features
    ]
    aware = isinstance(time.values.dtype, pd.DatetimeTZDtype)
    parse = f'at = pd.to_datetime(raw["{time.name}"], format={time.format!r}'
    localised = """
    # Of an hour that autumn repeats the second is meant; a time that spring skips is moved to the next that there is.
    second = np.zeros(len(raw), bool)
    at = at.dt.tz_localize(ZONE, ambiguous=second, nonexistent="shift_forward").dt.tz_convert("UTC")"""
    return {
        "reader": 'pd.read_parquet(FILE).replace("", np.nan)  # no text is a missing one, as in read_csv'
        if choice.file.endswith(".parquet") else "pd.read_csv(FILE)",
        "left_out": _comment(f"Left out, because they are no features as they are: {left_out}") if left_out else "",
        "columns": {each.name: each.source for each in kept},
        "labels": f"# DECIDE: which of the two is positive (1)?\nLABELS = {label.labels}\n" if in_words else "",
        "read_time": f"{parse}, utc=True)" if aware else f"{parse}){localised}",
        "entity_id_column": ' + "-" + '.join(parts),
        "read_label": f'raw["{label.name}"].map(lambda text: LABELS[str(text)], na_action="ignore").astype(float)'
        if in_words else f'raw["{label.name}"].astype(float)',
        "texts": f"(*CATEGORIES, {', '.join(map(repr, texts))})" if texts else "CATEGORIES",
        "first_day": f"date({choice.first_day:%Y}, {choice.first_day.month}, {choice.first_day.day})",
        "last_day": f"date({choice.last_day:%Y}, {choice.last_day.month}, {choice.last_day.day})",
        "rows": len(time.values), "labelled": int(label.values.notna().sum()),
    }  # fmt: skip


def _comment(text: str) -> str:
    return textwrap.fill(text, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False) + "\n"


def _of_the_params(choice: Choice) -> dict[str, Any]:
    days = (choice.last_day - choice.first_day).days + 1
    a_day = choice.label.values.notna().sum() / days
    names = [*(each.name for each in choice.features), "weekday", "minute_of_day"]
    periods = ("train_from", "valid_from", "test_from", "test_until")
    decided = choice.label.numbers.nunique() == 2
    return {
        **dict(zip(periods, choice.split, strict=True)),
        "at_least": f"{choice.label.least_positive:g}",
        "decide_at_least": "" if decided else f"  # DECIDE: from which {choice.label.name} on is a row positive?\n",
        "drift_features": f"[{', '.join(names)}]",
        "min_labels": max(1, round(7 * WEEKS_OF_LABELS * a_day)), "shadow_labels": max(1, round(2 * a_day)),
    }  # fmt: skip
