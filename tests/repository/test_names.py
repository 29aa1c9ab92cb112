"""Values are named by what they are, and no name means two things in the code."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests import ROOT
from tests.repository.test_rules import tracked

# Declarations of other problems for tests: the smallest one, and after an adoption the first one.
OTHER_PROBLEMS = ("tests/tiny/", "tests/reference/")
FILES = [path for path in tracked("*.py") if not path.startswith(OTHER_PROBLEMS)]
ROOMS = ("src/ontime/", "serving/", "monitoring/", "pipelines/", "bench/")
CODE = [path for path in FILES if path.startswith(ROOMS)]
# A problem is replaced as a whole, so its functions have names of its own.
GENERIC = [path for path in CODE if not path.startswith("src/ontime/problem/")]

# They say how a value was obtained; a noun says what it is: `probabilities`, `row`, `completed`, `arguments`.
PARTICIPLES = {"told", "known", "found", "wanted", "asked", "done", "said"}
# path -> name -> reason
PUBLIC_FIELDS: Mapping[str, Mapping[str, str]] = {
    "serving/responses.py": {"known": "a field of the API's JSON"},
}
COORDINATES = {"x": "a coordinate or an axis, as in matplotlib", "y": "a coordinate or an axis, as in matplotlib"}
ONE_LETTER: Mapping[str, Mapping[str, str]] = {
    "src/ontime/candidates.py": {"c": "a key of params.yaml, scikit-learn's C"},
    "src/ontime/figures.py": COORDINATES,
    "src/ontime/operation_plots.py": COORDINATES,
    "docs/site/architecture.py": COORDINATES,
}
MODULES = {
    "__init__": "the file of a package",
    "ideas": "the library's module, and the problem's own that it loads",
    "features": "the stage, the library's module that it calls, and the problem's own that the library calls",
    "sources": "the library's module, and the problem's own that it calls",
}
# Files in which one name stands for the same thing: a title in findings.py and its figure; the function of an
# engine or a broker.
FAMILIES = {
    **dict.fromkeys(("src/ontime/findings.py", "src/ontime/plots.py", "src/ontime/operation_plots.py"), "figures"),
    **{str(path.relative_to(ROOT)): "engines" for path in (ROOT / "pipelines/engines").glob("*.py")},
    **{str(path.relative_to(ROOT)): "brokers" for path in (ROOT / "pipelines/brokers").glob("*.py")},
}
FUNCTIONS = {
    "main": "the entry point of a command",
    "load": "a release, and the public API's way to it",
    "score": "the public API's, and a step of the service",
    "run": "a whole operation or bench, called by its module's name: monitor.run, retrain.run",
    "connect": "to a database, and to a broker",
    "promote": "the command, and the transition that it makes",
    "challenge": "the command, and the transition that it makes",
    "withdraw": "the command, and the transition that it makes",
    "roll_back": "the command, and the transition that it makes",
    "upgrade": "of each revision of the database's tables, as Alembic calls it",
    "materialise": "the flow of Prefect, and the operation that it runs",
    "rate_by_hour_and_weekday": "the table, and the figure of it",
    "predict": "a model's, and the route of the service that bench/bare.py compares with",
}

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)
FUNCTION_TYPES = (ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def tree_of(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def nodes(tree: ast.AST, *, comprehensions: bool) -> Iterator[ast.AST]:
    """All nodes below `tree`, optionally without comprehensions and lambdas."""
    for child in ast.iter_child_nodes(tree):
        if comprehensions or not isinstance(child, COMPREHENSIONS):
            yield child
            yield from nodes(child, comprehensions=comprehensions)


def bound_name(node: ast.AST) -> str | None:
    """The name that a node binds: a variable, an argument, a caught error, an import, a pattern or a function."""
    if isinstance(node, ast.Name):
        return node.id if isinstance(node.ctx, ast.Store) else None
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, ast.alias):
        return node.asname
    if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar, *FUNCTION_TYPES)):
        return node.name
    return None


@cache
def bindings(path: str, *, comprehensions: bool) -> list[tuple[int, str]]:
    """Each name that a file binds, with its line."""
    bound = ((node, bound_name(node)) for node in nodes(tree_of(path), comprehensions=comprehensions))
    return [(int(getattr(node, "lineno", 0)), name) for node, name in bound if name]


def type_variables(tree: ast.Module) -> set[str]:
    """Names such as `P = ParamSpec("P")`, which a type checker wants to be equal to the text."""
    return {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if isinstance(node.value.func, ast.Name) and node.value.func.id in ("TypeVar", "ParamSpec")
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def places_by_name(paths: list[str], kinds: tuple[type[ast.AST], ...]) -> dict[str, set[str]]:
    """The files that define a public class or function of each name, at the top level."""
    places: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        for node in tree_of(path).body:
            if isinstance(node, kinds) and not node.name.startswith("_"):  # type: ignore[attr-defined]  # definitions
                places[node.name].add(path)  # type: ignore[attr-defined]  # as above
    return places


def repeated(places: Mapping[str, set[str]], allowed: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: {', '.join(sorted(paths))}"
        for name, paths in sorted(places.items())
        if len(paths) > 1 and name not in allowed
    ]


def listed(places: list[str]) -> str:
    """A message with all places, where pytest would shorten the list."""
    return "\n".join([f"{len(places)} names to change:", *places])


@pytest.mark.parametrize("participle", sorted(PARTICIPLES))
def test_no_value_and_no_function_is_named_by_a_participle(participle: str) -> None:
    places = [
        f"{path}:{line}"
        for path in FILES
        for line, name in bindings(path, comprehensions=True)
        if name == participle and name not in PUBLIC_FIELDS.get(path, {})
    ]

    assert not places, listed(places)


def test_names_of_one_letter_stand_in_comprehensions_and_lambdas_only() -> None:
    places = [
        f"{path}:{line}: {name}"
        for path in FILES
        for line, name in bindings(path, comprehensions=False)
        if len(name) == 1 and name != "_"
        if name not in ONE_LETTER.get(path, {}) and name not in type_variables(tree_of(path))
    ]

    assert not places, listed(places)


def test_no_two_modules_have_one_name() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for path in CODE:
        places[Path(path).stem].add(path)

    names = repeated(places, MODULES)

    assert not names, listed(names)


def test_no_two_classes_have_one_name() -> None:
    names = repeated(places_by_name(CODE, (ast.ClassDef,)), {})

    assert not names, listed(names)


def test_no_two_public_functions_have_one_name() -> None:
    places = {
        name: {FAMILIES.get(path, path) for path in paths}
        for name, paths in places_by_name(GENERIC, FUNCTION_TYPES).items()
    }

    names = repeated(places, FUNCTIONS)

    assert not names, listed(names)
