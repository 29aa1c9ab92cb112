"""Generated requests to every route of the OpenAPI document: no server error, and every response as documented.

`make test` tries a fixed number of examples, `make fuzz` many more, and other ones each time.
"""

from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Err
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ontime.settings import Settings
from serving.app import create_app

pytestmark = pytest.mark.slow

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_every_response_is_as_documented(settings: Settings, pytestconfig: pytest.Config) -> None:
    app = create_app(settings)
    examples = pytestconfig.getoption("--examples")
    document = schemathesis.openapi.from_asgi("/openapi.json", app)
    tried, unrestricted = set[str](), set[str]()

    for result in document.get_all_operations():
        assert not isinstance(result, Err)
        operation = result.ok()
        says_something = operation.body or operation.query or operation.path_parameters
        _try(operation, GenerationMode.POSITIVE, examples)
        if says_something:
            try:
                _try(operation, GenerationMode.NEGATIVE, examples)
            except hypothesis.errors.Unsatisfiable:  # any text is valid in its path, such as the name of a model
                unrestricted.add(operation.label)
        tried.add(operation.label)

    documented = {f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods}
    assert tried == documented
    assert all(label.startswith("GET /v2/models/") for label in unrestricted)


def _try(operation: Any, mode: GenerationMode, examples: int) -> None:
    @hypothesis.settings(
        max_examples=examples or 25,
        derandomize=not examples,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def answers_as_documented(case: Any) -> None:
        if mode.is_positive and "name" in (case.path_parameters or {}):
            case.path_parameters |= {"name": "ontime"}  # the generator cannot guess the name of the model
        case.call_and_validate(checks=CHECKS)

    answers_as_documented()
