"""The files that a module imports and the templates that they render, read from the source without running it."""

import ast
from functools import cache
from pathlib import Path

from jinja2 import Environment, meta

from tests import ROOT

ROOMS = {"ontime": ROOT / "src", "pipelines": ROOT, "serving": ROOT, "monitoring": ROOT, "bench": ROOT}


def file_of(module: str) -> Path | None:
    """The file of one of our modules, None for anything else."""
    room = ROOMS.get(module.split(".", maxsplit=1)[0])
    if room is None:
        return None
    path = room / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def imported_by(file: Path) -> frozenset[str]:
    """The dotted names that a file imports, `from a import b` as both `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


# The registry of candidates defines which names and values params.yaml may have, and the colours of figures. It does
# not change the results of a stage that fits nothing, so a new candidate does not invalidate such a stage.
NOT_FOLLOWED = {("params.py", "ontime.candidates"), ("plots.py", "ontime.candidates")}


# A stage depends on the folder of the problem as a whole, and on all that a problem may import: another problem, with
# other files, does not change dvc.yaml.
PROBLEM = ROOT / "src/ontime/problem"
FOR_REQUESTS = {"ontime.declaration", "ontime.times"}
FOR_TABLES = {"ontime.availability", "ontime.checks", "ontime.datasets", "ontime.events", "ontime.params"}


def all_behind(module: str) -> set[str]:
    """The files of ours that a module needs, including its own, as paths from the root; problem/ is one path."""
    files, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        file = file_of(name)
        if file is not None and PROBLEM in file.parents:
            waiting += FOR_REQUESTS | (FOR_TABLES if name.startswith("ontime.problem.data") else set())
            files.add(PROBLEM)
        elif file is not None and file not in files:
            files.add(file)
            waiting += (other for other in imported_by(file) if (file.name, other) not in NOT_FOLLOWED)
    return {str(file.relative_to(ROOT)) for file in files}


def templates_behind(module: str) -> set[str]:
    """The templates that a module's files render, as paths from the root."""
    files = [ROOT / path for path in all_behind(module) if path.endswith(".py")]
    return {str(template.relative_to(ROOT)) for file in files for template in templates_of(file)}


def templates_of(file: Path) -> set[Path]:
    """The templates that a file names, beside it or in `templates`, and those that they extend, include or import."""
    names = {
        node.value
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".jinja")
    }
    beside = {file.parent / name for name in names} | {file.parent / "templates" / name for name in names}
    templates, waiting = set[Path](), [template for template in beside if template.is_file()]
    while waiting:
        template = waiting.pop()
        if template not in templates:
            templates.add(template)
            syntax = Environment(autoescape=True).parse(template.read_text())
            waiting += [template.parent / name for name in meta.find_referenced_templates(syntax) if name]
    return templates
