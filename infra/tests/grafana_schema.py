"""What is wrong with dashboards by Grafana's own schema: `python grafana_schema.py FILE...` prints a line a problem.

The schema is grafana-foundation-sdk's, which Grafana generates from the definitions of its own code: dashboards, the
options of every kind of panel, Prometheus queries, units. A wheel brings it, so neither Node nor a server is needed.
Its `from_json` takes what it knows and drops the rest without a word, as Grafana does. So what was dropped is named
here, and what was taken is held against the types that the fields are annotated with.
"""

import json
import sys
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

# Only in the environment of `make test-infra`, with which this file is run.
from grafana_foundation_sdk.cog import plugins, runtime  # type: ignore[import-not-found]
from grafana_foundation_sdk.cog.encoder import JSONEncoder  # type: ignore[import-not-found]
from grafana_foundation_sdk.models import units  # type: ignore[import-not-found]
from grafana_foundation_sdk.models.dashboard import Dashboard  # type: ignore[import-not-found]

UNITS = {value for value in vars(units).values() if isinstance(value, str)}


def problems(dashboard: dict[str, Any]) -> list[str]:
    """What Grafana would not understand."""
    errors = _read(Dashboard, dashboard, "dashboard")
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            continue
        if runtime.panelcfg_config(panel["type"]) is None:
            errors.append(f"{panel['title']}: {panel['type']} is no kind of panel")
        unit = panel["fieldConfig"]["defaults"].get("unit")
        if unit not in UNITS:
            errors.append(f"{panel['title']}: {unit} is no unit")
    return errors


def _read(kind: Any, document: dict[str, Any], place: str) -> list[str]:
    """Problems of a JSON object that should be a `kind` of the schema."""
    read = kind.from_json(document)
    parsed = json.loads(json.dumps(read, cls=JSONEncoder))
    return _dropped(document, parsed, place) + _mistyped(read, place)


def _dropped(document: Any, parsed: Any, place: str) -> list[str]:
    """What is not there any more after it was read and written."""
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
    """Fields of an object of the schema that hold what their annotation does not allow."""
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
        return [f"{place}: its data source is of no known kind"]
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
        for problem in problems(json.loads(Path(path).read_text())):
            print(f"{Path(path).name}: {problem}")
