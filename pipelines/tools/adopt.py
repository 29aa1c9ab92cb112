"""`make adopt FROM=examples/bikes`: replaces this project's problem with another one, and removes what belonged to it.

FROM holds a folder `problem`, a `params.yaml`, and optionally `tests`. They are checked before anything changes: the
declaration must be consistent, and the parameters must name features and datasets that it has. A problem with open
decisions (pipelines/tools/open_decisions.py) is refused, and so is a working tree with uncommitted changes:
`git checkout .` and `git clean` bring all tracked files back. The project's first problem moves to tests/reference,
where the tests of the generic code use it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ontime import environment
from pipelines.operations import git
from pipelines.tools import open_decisions

PROBLEM, PARAMS, TESTS = Path("src/ontime/problem"), Path("params.yaml"), Path("tests/problem")
REFERENCE = Path("tests/reference")
# Of the old problem: data and models, what production keeps, what the stages and the benches have written.
BELONGS_TO_IT = (
    "data", "models", "releases", "reports", "var", "dvc.lock", "docs/features.md", "docs/class_imbalance.md",
    "docs/gate.md", "docs/screenshots",
)  # fmt: skip
MADE = ("releases", "var/mlflow.db", "var/ontime.db")  # of these, what nobody could make again
# The sabotage matrix is of the tests, which stay.
STAYS = {Path("var/cache"), Path("reports/sabotage.json")}
TRY = """
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
TRACEBACK_LINES = 5
NEXT = """adopt: {name} is in place. Next:
  git add -A && git commit -m 'Adopt {name}'
  make train            data, features, models, gate, a release
  make serve            ... which answers on 127.0.0.1:8000
README.md and docs/tour.md still describe the old problem: rewrite them. docs/make-it-yours.md continues from here."""


class NotAdopted(ValueError):
    """Nothing was changed; the message says why, and what to do."""


def adopt(source: Path, replace: bool = False) -> None:
    """Raises NotAdopted, GitRefused."""
    git.refuse_without_commit()
    for needed in (source / "problem/__init__.py", source / "problem/data.py", source / "params.yaml"):
        if not needed.is_file():
            raise NotAdopted(f"{needed} does not exist; docs/make-it-yours.md says what a problem consists of")
    if marked := open_decisions.open_in(source):
        raise NotAdopted("\n  ".join([f"decide first, and remove each mark {open_decisions.MARK}", *marked]))
    git.refuse_uncommitted()
    refuse_broken(source)
    if (made := [path for path in MADE if Path(path).exists()]) and not replace:
        raise NotAdopted(
            f"{', '.join(made)} would be deleted, and git keeps none of it: `make backup` first makes a copy; "
            f"then make adopt FROM={source} REPLACE=1"
        )
    if not REFERENCE.exists():
        _keep_for_the_tests()
    for path in map(Path, BELONGS_TO_IT):
        _remove(path)
    for old, new in ((PROBLEM, source / "problem"), (TESTS, source / "tests")):
        shutil.rmtree(old, ignore_errors=True)
        if new.is_dir():
            shutil.copytree(new, old, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(source / "params.yaml", PARAMS)


def _keep_for_the_tests() -> None:
    """The machinery's tests go on with the problem that they were written with."""
    shutil.copytree(PROBLEM, REFERENCE / "problem", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (PARAMS, Path("dvc.lock")):
        if path.exists():
            shutil.copyfile(path, REFERENCE / path)


def refuse_broken(source: Path) -> None:
    """Raises NotAdopted with what is wrong in a declaration or in parameters."""
    root = Path.cwd()
    environment = {**os.environ, "ONTIME_PROBLEM": str((source / "problem").resolve()), "PYTHONPATH": str(root / "src")}
    tried = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-c", TRY], cwd=source, env=environment, capture_output=True, text=True
    )
    if tried.returncode:
        said = tried.stderr.strip().splitlines()
        shown = said[-TRACEBACK_LINES:] if said[0].startswith("Traceback") else said
        raise NotAdopted("\n".join([f"{source} is invalid:", *shown]))


def _remove(path: Path) -> None:
    if path in STAYS:
        return
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            _remove(inner)
        if not any(path.iterdir()):
            path.rmdir()
    else:
        path.unlink(missing_ok=True)


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("adopt: which problem? Try: make adopt FROM=examples/bikes")
    source = Path(sys.argv[1])
    try:
        adopt(source, replace="--replace" in sys.argv[2:])
    except (NotAdopted, git.GitRefused) as refused:
        sys.exit(f"adopt: {refused}")
    print(NEXT.format(name=source.name))


if __name__ == "__main__":
    environment.enforce()
    main()
