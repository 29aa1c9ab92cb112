"""docs/params.md: every parameter with its comment and its limits, from params.yaml and ontime/params.py."""

import re
from typing import Any

from ontime.candidates import CANDIDATES
from ontime.params import Params

INTRODUCTION = """# Parameters

[params.yaml](../params.yaml) has everything that changes the model or the decisions about it. `make train` runs the
stages that read a changed parameter. A missing or unknown key and a value outside of its limits are refused with the
name of the key. [Settings](settings.md) are what changes no model.

`make docs-reference` generates this page from params.yaml and [params.py](../src/ontime/params.py).
"""
ENDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}


def page(text: str) -> str:
    """Of the text of a params.yaml."""
    schema = Params.model_json_schema()
    sections = re.split(r"^(?=\w+:)", text, flags=re.MULTILINE)[1:]
    return INTRODUCTION + "".join(_section(each, schema) for each in sections)


def _section(text: str, schema: dict[str, Any]) -> str:
    name = text.partition(":")[0]
    limits = dict(_limits(schema["properties"][name], schema["$defs"], name))
    if name == "train":
        for candidate, declared in CANDIDATES.items():
            own = declared.parameters.model_json_schema()
            limits |= dict(_limits(own, own.get("$defs", {}), f"train.{candidate}"))
    rows = "".join(f"| `{key}` | {words} |\n" for key, words in limits.items())
    return f"\n## {name}\n\n```yaml\n{text.rstrip()}\n```\n\n| parameter | values |\n| --- | --- |\n{rows}"


def _limits(schema: dict[str, Any], definitions: dict[str, Any], name: str) -> list[tuple[str, str]]:
    """Each value below this one, by its full name, with its type and limits."""
    if "$ref" in schema:
        return _limits(definitions[schema["$ref"].rpartition("/")[2]], definitions, name)
    if "properties" in schema:
        return [
            row for key, each in schema["properties"].items() for row in _limits(each, definitions, f"{name}.{key}")
        ]
    if "$ref" in schema.get("additionalProperties", {}):
        return _limits(schema["additionalProperties"], definitions, f"{name}.*")
    return [(name, _words(schema))]


def _words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(map(_words, schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    ends = [words.format(f"{schema[key]:,}") for key, words in ENDS.items() if key in schema]
    items = f" of {_words(schema['items'])}" if schema.get("items") else ""
    return " ".join([schema.get("format", schema.get("type", "any")) + items, ", ".join(ends)]).strip()
