"""Validates dashboards with Grafana's schema: `python grafana_schema.py FILE...` prints its errors.

The schema is that of grafana-foundation-sdk, which Grafana generates from its own definitions: dashboards, the options
of every type of panel, Prometheus queries, units. It is a Python package, so neither Node nor a server is needed. Its
`from_json` silently drops unknown fields, as Grafana does. So this reports dropped fields, and compares the values of
the others with their type annotations.
"""

import json
import sys
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

# Installed in the environment of `make test-infra` only, which runs this file.
from grafana_foundation_sdk.cog import plugins, runtime  # type: ignore[import-not-found]
from grafana_foundation_sdk.cog.encoder import JSONEncoder  # type: ignore[import-not-found]
from grafana_foundation_sdk.models import units  # type: ignore[import-not-found]
from grafana_foundation_sdk.models.dashboard import Dashboard  # type: ignore[import-not-found]

UNITS = {value for value in vars(units).values() if isinstance(value, str)}


def problems(dashboard: dict[str, Any]) -> list[str]:
    """The errors of a dashboard."""
    errors = _read(Dashboard, dashboard, "dashboard")
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            continue
        if runtime.panelcfg_config(panel["type"]) is None:
            errors.append(f"{panel['title']}: {panel['type']} is not a type of panel")
        unit = panel["fieldConfig"]["defaults"].get("unit")
        if unit not in UNITS:
            errors.append(f"{panel['title']}: {unit} is not a unit")
    return errors


def _read(kind: Any, document: dict[str, Any], place: str) -> list[str]:
    """Problems of a JSON object that should be a `kind` of the schema."""
    read = kind.from_json(document)
    parsed = json.loads(json.dumps(read, cls=JSONEncoder))
    return _dropped(document, parsed, place) + _mistyped(read, place)


def _dropped(document: Any, parsed: Any, place: str) -> list[str]:
    """The fields that are lost when the document is read and written."""
    if isinstance(document, list):
        return [
            each
            for n, pair in enumerate(zip(document, parsed, strict=True))
            for each in _dropped(*pair, f"{place}[{n}]")
        ]
    if not isinstance(document, dict):
        return []
    unknown = [f"{place}.{name} is unknown" for name in document if name not in parsed and document[name] is not None]
    return unknown + [
        each
        for name in document
        if name in parsed
        for each in _dropped(document[name], parsed[name], f"{place}.{name}")
    ]


def _mistyped(read: Any, place: str) -> list[str]:
    """The fields whose value contradicts their type annotation."""
    hints = get_type_hints(type(read))
    return [
        each for name, hint in hints.items() for each in _held_against(hint, getattr(read, name), f"{place}.{name}")
    ]


def _held_against(hint: Any, value: Any, place: str) -> list[str]:
    wrong = [f"{place}: {value!r} is not allowed"]
    if get_origin(hint) in (Union, UnionType):
        return min((_held_against(choice, value, place) for choice in get_args(hint)), key=len)
    if get_origin(hint) is Literal:
        return [] if value in get_args(hint) else wrong
    if get_origin(hint) is list and isinstance(value, list):
        (kind,) = get_args(hint)
        return [each for n, item in enumerate(value) for each in _held_against(kind, item, f"{place}[{n}]")]
    if isinstance(value, runtime.UnknownDataquery):
        return [f"{place}: its data source has an unknown type"]
    if hasattr(value, "to_json"):
        return _mistyped(value, place)
    if hasattr(hint, "from_json") and isinstance(value, dict):
        return _read(hint, value, place)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return [] if value in {each.value for each in hint} else wrong
    if hint in (bool, int, float, str):
        numbers = {float: (int, float)}.get(hint, hint)
        return [] if isinstance(value, numbers) and isinstance(value, bool) == (hint is bool) else wrong
    kind = get_origin(hint) or hint
    return [] if kind is Any or isinstance(value, kind) else wrong


if __name__ == "__main__":
    plugins.register_default_plugins()
    for path in sys.argv[1:]:
        for problem in problems(json.loads(Path(path).read_text(encoding="utf-8"))):
            print(f"{Path(path).name}: {problem}")
