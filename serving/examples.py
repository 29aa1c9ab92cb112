"""Request bodies, with schemas and examples, for the OpenAPI document."""

from typing import Any

from ontime.problem import PROBLEM
from ontime.schema import Outcome
from serving.parsing import MAX_ENTITIES

OUTCOME = PROBLEM.example_outcome


def _body(item: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    """An item, or a list of items."""
    items = {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_ENTITIES}
    content = {
        "schema": {"oneOf": [item, items]},
        "examples": {name: {"value": value} for name, value in examples.items()},
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


REQUEST_BODY = _body(PROBLEM.request.model_json_schema(), {**PROBLEM.examples, "a list": [*PROBLEM.examples.values()]})
OUTCOMES_BODY = _body(Outcome.model_json_schema(), {"one outcome": OUTCOME, "a list": [OUTCOME]})
