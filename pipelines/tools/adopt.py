"""`ontime adopt examples/bikes`: replaces this project's problem with another one, and removes what belonged to it.

FROM holds a folder `problem`, a `params.yaml`, and optionally `tests`. They are checked before anything changes: the
declaration must be consistent, and the parameters must name features and datasets that it has. A problem with open
decisions (pipelines/tools/open_decisions.py) is refused, and so is a working tree with uncommitted changes:
`git checkout .` and `git clean` bring all tracked files back. The project's first problem moves to tests/reference,
where the tests of the generic code use it.
"""

import os
import shutil
import sys
from pathlib import Path

from ontime import locks
from pipelines.operations import git, processes
from pipelines.tools import open_decisions

PROBLEM, PARAMS, TESTS = Path("src/ontime/problem"), Path("params.yaml"), Path("tests/problem")
REFERENCE = Path("tests/reference")
# Belong to the old problem: data, models, production's state, and what stages and benches have written.
REMOVED_PATHS = (
    "data", "models", "releases", "reports", "var", "dvc.lock", "docs/features.md", "docs/class_imbalance.md",
    "docs/gate.md", "docs/what-features-are-worth.md", "docs/what-the-model-is-worth.md",
    "docs/what-models-are-worth.md", "docs/what-compression-costs.md", "docs/what-searching-is-worth.md",
    "docs/screenshots", "docs/http-api.md", "docs/params.md", "docs/notebook.md",
)  # fmt: skip
IRREPLACEABLE = ("releases", "var/mlflow.db", "var/ontime.db")  # of these, what no command could rebuild
# The sabotage matrix is a result of the generic tests, which stay. The lock is held meanwhile.
KEPT_PATHS = {Path("var/cache"), locks.WORKSPACE, Path("reports/sabotage.json")}
CHECK_SCRIPT = """
import sys
from ontime.declaration import ProblemBroken
try:
    from ontime import sources
    from ontime.datasets import SourceBroken
    from ontime.params import ParamsBroken, load_params
except ProblemBroken as broken:
    sys.exit(str(broken))
try:
    sources.dataset(load_params().dataset)
except (ParamsBroken, SourceBroken) as broken:
    sys.exit(str(broken))
"""
NEXT_STEPS = """adopt: {name} has replaced the problem. Next:
  git add -A && git commit -m 'Adopt {name}'
  make train            data, features, models, gate, a release
  make serve            serves the release on 127.0.0.1:8000
  make docs-reference   the pages about its parameters and its API
README.md and pages in docs/ still describe the old problem: docs/make-it-yours.md, step 9, lists them."""


class NotAdopted(ValueError):
    """The problem cannot be adopted, and nothing was changed; the message says why, and what to do."""


def adopt(source: Path, replace: bool = False) -> None:
    """Replace the problem by the one in `source`. Raises NotAdopted, GitRefused."""
    git.refuse_without_commit()
    for path in (source / "problem/__init__.py", source / "problem/data.py", source / "params.yaml"):
        if not path.is_file():
            raise NotAdopted(f"{path} does not exist; docs/make-it-yours.md lists the files of a problem")
    if decisions := open_decisions.open_in(source):
        raise NotAdopted("\n  ".join([f"decide first, and remove each mark {open_decisions.MARK}", *decisions]))
    git.refuse_uncommitted()
    refuse_broken(source)
    if (existing := [path for path in IRREPLACEABLE if Path(path).exists()]) and not replace:
        raise NotAdopted(
            f"{', '.join(existing)} would be deleted, and git has no copy; run make backup first, "
            f"then make adopt FROM={source} REPLACE=1"
        )
    if not REFERENCE.exists():
        _keep_reference_problem()
    for path in map(Path, REMOVED_PATHS):
        _remove(path)
    for old, new in ((PROBLEM, source / "problem"), (TESTS, source / "tests")):
        shutil.rmtree(old, ignore_errors=True)
        if new.is_dir():
            shutil.copytree(new, old, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(source / "params.yaml", PARAMS)


def _keep_reference_problem() -> None:
    """Copy the first problem to tests/reference: the tests of the generic code were written for it."""
    shutil.copytree(PROBLEM, REFERENCE / "problem", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (PARAMS, Path("dvc.lock")):
        if path.exists():
            shutil.copyfile(path, REFERENCE / path)


def refuse_broken(source: Path) -> None:
    """Raises NotAdopted if the declaration or the parameters are invalid, with the reason."""
    problem, library = (source / "problem").resolve(), Path.cwd() / "src"
    variables = {**os.environ, "ONTIME_PROBLEM": str(problem), "PYTHONPATH": str(library)}
    with processes.piped([sys.executable, "-c", CHECK_SCRIPT], cwd=source, env=variables) as process:
        try:
            processes.output_of(process, f"the check of {source}")
        except processes.ProcessFailed as failed:
            raise NotAdopted(f"{source} is invalid:\n{processes.last_lines(failed.output)}") from None


def _remove(path: Path) -> None:
    if path in KEPT_PATHS:
        return
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            _remove(inner)
        if not any(path.iterdir()):
            path.rmdir()
    else:
        path.unlink(missing_ok=True)


def main(source: Path, *, replace: bool = False) -> None:
    try:
        with locks.hold(locks.WORKSPACE, "make adopt"):
            adopt(source, replace=replace)
    except (NotAdopted, git.GitRefused, locks.Busy) as error:
        sys.exit(f"adopt: {error}")
    print(NEXT_STEPS.format(name=source.name))
