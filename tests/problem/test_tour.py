"""docs/tour.md: every function that it names exists, and every example prints what it says."""

import ast
import doctest
import json
import re
from pathlib import Path

import pytest

from tests import ROOT

TOUR = ROOT / "docs/tour.md"
LINKS = re.findall(r"\[`([\w.]+)`\]\(([\w./-]+\.py)\)", TOUR.read_text())


def defined_in(file: Path) -> set[str]:
    """The names that a module defines, and the methods of its classes as `Class.method`."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            functions = (each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
            names |= {node.name} | {f"{node.name}.{function.name}" for function in functions}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize(("name", "path"), LINKS)
def test_every_link_leads_to_a_file_or_to_a_function_in_it(name: str, path: str) -> None:
    file = (TOUR.parent / path).resolve()

    if name in (file.name, file.stem):
        assert file.is_file()
    else:
        assert name.removeprefix(f"{file.stem}.") in defined_in(file)


def test_the_tour_has_ten_stops_and_a_function_at_each() -> None:
    stops = re.split(r"^## \d+\. ", TOUR.read_text(), flags=re.MULTILINE)[1:]

    assert len(stops) == 10
    assert [stop.splitlines()[0] for stop in stops if not re.search(r"\[`[\w.]+`\]\(", stop)] == []


def test_it_ends_with_the_prediction_of_the_released_model() -> None:
    """infra/tests/test_stack.py compares the answer that getting-started.md shows with that of a release."""
    (shown,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs/getting-started.md").read_text(), re.DOTALL)
    answer = json.loads(shown)

    text = TOUR.read_text()
    (verdict,) = re.findall(r"`(log-loss [^`]*)`", text)

    assert f"against baseline rate_table: {verdict}" in (ROOT / "docs/getting-started.md").read_text()
    assert answer["entity_id"] in text
    assert answer["alert"]
    assert f"gives VX29 a probability of {answer['probability']:.0%}".replace("%", " %") in text
    assert "an alert." in text


@pytest.mark.slow
def test_the_examples_print_what_the_page_says() -> None:
    results = doctest.testfile(str(TOUR), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)

    assert results.attempted > 10
    assert results.failed == 0


def test_all_pages_have_the_same_probability_of_its_flight() -> None:
    shown, episode = (
        re.findall(r'"VX29-JFK-20131127T2355Z",\s*"probability": ?([\d.]+)', (ROOT / f"docs/{page}.md").read_text())
        for page in ("getting-started", "episodes")
    )

    assert len(shown) == 1
    assert episode == shown
    assert f"gives VX29 a probability of {100 * float(shown[0]):.0f} %" in TOUR.read_text()
