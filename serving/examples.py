"""The requests' schemas and examples for the OpenAPI document."""

from typing import Any

from ontime.problem import PROBLEM
from ontime.schema import Outcome
from serving.requests import MOST_ENTITIES

OUTCOME = PROBLEM.example_outcome


def _body(one: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    """One thing, or a list of them."""
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_ENTITIES}
    content = {
        "schema": {"oneOf": [one, several]},
        "examples": {name: {"value": value} for name, value in examples.items()},
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


REQUEST_BODY = _body(PROBLEM.request.model_json_schema(), {**PROBLEM.examples, "a list": [*PROBLEM.examples.values()]})
OUTCOMES_BODY = _body(Outcome.model_json_schema(), {"one outcome": OUTCOME, "a list": [OUTCOME]})
