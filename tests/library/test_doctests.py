"""Every example in a docstring prints what it says. tests/problem runs those of the problem, test_api.py the API's."""

import pytest

from tests.doctests import modules_with_examples, run_examples

ROOMS = ("src/ontime", "monitoring", "serving", "pipelines", "bench")
RUN_ELSEWHERE = ("ontime.problem.", "ontime.api")
MODULES = [name for name in modules_with_examples(*ROOMS) if not name.startswith(RUN_ELSEWHERE)]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_print_what_they_say(module: str) -> None:
    results = run_examples(module)

    assert results.attempted > 0
    assert results.failed == 0
