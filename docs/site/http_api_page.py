"""docs/http-api.md: every route of the service with its parameters and bodies, from its OpenAPI document."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from serving.middleware import required_scope

INTRODUCTION = """# HTTP API

A running service describes itself at `/openapi.json`, and `/docs` has a page to try each route. With `ONTIME_API_KEYS`,
a request needs `Authorization: Bearer KEY` with a key of the scope below. It may then also get 401 (no valid key), 403
(the key lacks the scope) or 429 (too many requests).

`make docs-reference` generates this page from that document.
"""


def page(document: dict[str, Any]) -> str:
    schemas = document["components"]["schemas"]
    used = dict.fromkeys(name for each in _operations(document) for name in _named(each[2], schemas))
    return "\n".join(
        [
            INTRODUCTION,
            *(line for tag in document["tags"] for line in _tag(tag, document)),
            "## Bodies\n",
            *(line for name in used for line in _schema(name, schemas[name])),
        ]
    )


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _named(part: Any, schemas: dict[str, Any]) -> Iterator[str]:
    """The schemas that this part refers to, and those that they refer to."""
    if isinstance(part, list):
        for each in part:
            yield from _named(each, schemas)
    elif isinstance(part, dict):
        if "$ref" in part:
            name = part["$ref"].rpartition("/")[2]
            yield name
            yield from _named(schemas[name], schemas)
        for each in part.values():
            yield from _named(each, schemas)


def _tag(tag: dict[str, str], document: dict[str, Any]) -> Iterator[str]:
    yield f"## {tag['name'].capitalize()}\n\n{tag['description']}\n"
    for method, path, operation in _operations(document):
        if tag["name"] in operation["tags"]:
            yield from _operation(method, path, operation)


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### {method} {path}\n"
    scope = required_scope(method, path)
    words = [f"{operation['summary']}.", operation.get("description"), f"Scope: `{scope}`." if scope else "No key."]
    yield " ".join(filter(None, words)) + "\n"
    if parameters := operation.get("parameters"):
        rows = [(f"`{each['name']}`", each["in"], _type(each["schema"]), _meaning(each)) for each in parameters]
        yield _table(("parameter", "in", "type", "meaning"), rows)
    if body := operation.get("requestBody"):
        (content,) = body["content"].values()
        yield from _body(content)
    answers = [
        (status, _meaning(response), ", ".join(_type(each.get("schema", {})) for each in response["content"].values()))
        for status, response in operation["responses"].items()
    ]
    yield _table(("status", "meaning", "body"), answers)


def _body(content: dict[str, Any]) -> Iterator[str]:
    schema = content["schema"]
    single = schema.get("oneOf", [schema])[0]
    if "properties" in single:
        also = ", or a list of such objects" if len(schema.get("oneOf", [])) > 1 else ""
        yield f"The body is a JSON object{also}:\n\n{_fields(single)}"
    examples = [each["value"] for each in content.get("examples", {}).values()]
    if examples:
        yield f"```json\n{json.dumps(examples[0], indent=2)}\n```\n"


def _schema(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    if "description" in schema:
        yield " ".join(schema["description"].split()) + "\n"
    if "properties" in schema:
        yield _fields(schema)
    else:
        yield f"{_type(schema)}\n"


def _fields(schema: dict[str, Any]) -> str:
    optional = schema["properties"].keys() - set(schema.get("required", schema["properties"]))
    rows = [
        (f"`{name}`", _type(each) + (", optional" if name in optional else ""), _meaning(each))
        for name, each in schema["properties"].items()
    ]
    return _table(("field", "type", "meaning"), rows)


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(map(_type, choices)))
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{json.dumps(each)}`" for each in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any")


def _meaning(part: dict[str, Any]) -> str:
    return " ".join(part.get("description", "").split())


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *(tuple(cell.replace("|", r"\|") for cell in row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
