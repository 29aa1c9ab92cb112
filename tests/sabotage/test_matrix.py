"""The committed matrix is what the tests declare, and its list of guards is complete."""

import ast
import inspect
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import pytest

from ontime import problem
from ontime.params import Params
from tests.sabotage import matrix
from tests.sabotage.matrix import GUARDS, NO_GUARDS, ROOT, Guard, alert

ROOMS = ("src/ontime", "pipelines", "monitoring")


def planting() -> list[Callable[..., object]]:
    """Every test here that plants a fault, in order."""
    modules = [import_module(path.stem) for path in sorted(Path(__file__).parent.glob("test_planted_*.py"))]
    tests = [value for module in modules for name, value in vars(module).items() if name.startswith("test_")]
    return [test for test in tests if matrix.declared_by([test])]


def test_the_committed_rows_are_those_of_the_tests(pytestconfig: pytest.Config) -> None:
    """What was reported is compared by each test itself."""
    declared = [asdict(each) for each in matrix.declared_by(planting())]
    rows = declared if pytestconfig.getoption("write_matrix") else matrix.committed()

    assert [{name: row[name] for name in declared[0]} for row in rows] == declared


def test_the_committed_page_is_that_of_the_rows(pytestconfig: pytest.Config) -> None:
    written_at_the_end = pytestconfig.getoption("write_matrix")

    assert written_at_the_end or matrix.PAGE.read_text() == matrix.page(matrix.committed())


def test_every_planted_fault_is_reported() -> None:
    assert [test.__name__ for test in planting() if "    reported(" not in inspect.getsource(test)] == []


def test_no_two_faults_have_the_same_words() -> None:
    words = [each.planted for each in matrix.declared_by(planting())]

    assert len(set(words)) == len(words)


def test_what_stops_a_fault_is_a_guard_and_what_nothing_stops_says_why() -> None:
    declared = matrix.declared_by(planting())

    assert {each.stopped_by for each in declared if each.stopped_by} <= set(GUARDS)
    assert [each.planted for each in declared if (each.stopped_by is None) != bool(each.instead)] == []


def test_every_alert_is_a_guard(params: Params) -> None:
    assert {name for name in GUARDS if name.startswith("alert ")} == {alert(each) for each in params.monitor.alerts}


def test_every_error_of_ours_belongs_to_a_guard_or_guards_nothing() -> None:
    """Else a new guard would be missing in the list of those that no fault exercises."""
    ours = {
        node.name
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any(_is_error(base) for base in node.bases)
    }

    assert ours == {guard.refusal for guard in GUARDS.values() if guard.refusal} | NO_GUARDS


def _is_error(base: ast.expr) -> bool:
    return isinstance(base, ast.Name) and (
        base.id.endswith(("Error", "Exception")) or base.id in ("Refusal", "ReleaseRefused")
    )


def where(guard: Guard) -> Path:
    inside = guard.where.removeprefix("src/ontime/problem/")
    return Path(str(problem.__file__)).with_name(inside) if inside != guard.where else ROOT / guard.where


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_is_where_the_matrix_says(name: str) -> None:
    text = where(GUARDS[name]).read_text()

    assert GUARDS[name].refusal in text
    assert not name.startswith("alert ") or f'"{name.split("`")[1]}"' in text
