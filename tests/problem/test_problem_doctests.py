"""Every example in a docstring of the problem prints what it says."""

import pytest

from tests.doctests import modules_with_examples, run_examples


@pytest.mark.parametrize("module", modules_with_examples("src/ontime/problem"))
def test_the_examples_of_the_problem_print_what_they_say(module: str) -> None:
    results = run_examples(module)

    assert results.attempted > 0
    assert results.failed == 0
