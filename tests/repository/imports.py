"""Which of our files a module imports, read from the source: nothing is run."""

import ast
from functools import cache
from pathlib import Path

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


# The registry of candidates says which names and values params.yaml may have, and in which colours they are drawn.
# That changes no result of a stage that fits nothing, so a new candidate does not run such a stage again.
NOT_FOLLOWED = {("params.py", "ontime.candidates"), ("plots.py", "ontime.candidates")}


# A problem is one folder, whatever its files are called and import: another one changes no stage's list. So a stage
# depends on the folder as a whole, and on all that a problem may import.
PROBLEM = ROOT / "src/ontime/problem"
FOR_REQUESTS = {"ontime.declaration", "ontime.times"}
FOR_TABLES = {"ontime.availability", "ontime.checks", "ontime.datasets", "ontime.events", "ontime.params"}


def all_behind(module: str) -> set[str]:
    """Every file of ours that running a module reads, its own included, as paths from the root; problem/ as one."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        file = file_of(name)
        if file is not None and PROBLEM in file.parents:
            waiting += FOR_REQUESTS | (FOR_TABLES if name.startswith("ontime.problem.data") else set())
            found.add(PROBLEM)
        elif file is not None and file not in found:
            found.add(file)
            waiting += (other for other in imported_by(file) if (file.name, other) not in NOT_FOLLOWED)
    return {str(file.relative_to(ROOT)) for file in found}
