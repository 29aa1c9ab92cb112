"""A version built anew, from git and its record alone: nothing of this workspace, no cache, no results."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from ontime import environment
from ontime.params import PARAMS_FILE
from ontime.registry import Origin
from pipelines.layout import read_json
from pipelines.operations import raw_files
from pipelines.operations.lineage import LOCK

VAR = Path("var")
LAST = "evaluate"  # DVC runs it and all that it stands on, up to the test predictions; not `explore`
LIBRARIES = Path("requirements/train.txt")


class NotRebuilt(Exception):
    """There is nothing to compare with; the message says what was missing or went wrong."""


class Deviation(NamedTuple):
    """Between the probabilities of the registered model and of the rebuilt one."""

    entities: int
    largest: float
    entity_id: str  # where it is that large


class Rebuilt(NamedTuple):
    lock: str
    deviation: Deviation
    same_libraries: bool  # as those that are locked here, and so installed


def rebuild(origin: Origin) -> Rebuilt:
    """Run every stage of `origin` once more, and compare the models. Raises NotRebuilt."""
    with clone(origin.git_commit) as folder:
        (folder / PARAMS_FILE).write_text(origin.params_yaml)
        (folder / LOCK).unlink(missing_ok=True)  # without results to compare with, DVC can skip nothing
        _run(folder, "dvc", "repro", LAST)
        registered, answer = folder / "registered.onnx", folder / "deviation.json"
        registered.write_bytes(origin.onnx)
        _run(folder, module_of_deviation(folder), str(registered), str(answer))
        same_libraries = (folder / LIBRARIES).read_bytes() == LIBRARIES.read_bytes()
        return Rebuilt((folder / LOCK).read_text(), Deviation(**read_json(answer)), same_libraries)


def module_of_deviation(folder: Path) -> str:
    """The module that measures the deviation, under the name that it has in the clone's commit."""
    # A release keeps the code that trained it, so each former name of this module has to stay in the list.
    names = ("pipelines.tools.prediction_deviation", "pipelines.deviation")
    return next((name for name in names if (folder / f"{name.replace('.', '/')}.py").exists()), names[0])


@contextmanager
def clone(commit: str) -> Iterator[Path]:
    """This repository at `commit` in a folder of its own, which goes when the block ends, however it ends.

    Not a `git worktree`: the user's repository would keep its name when this is killed. Objects are shared, so
    that nothing is copied, and a commit is found to which no branch leads.
    """
    if not _done("git", "cat-file", "-e", f"{commit}^{{commit}}"):
        raise NotRebuilt(f"commit {commit} is not in this repository; fetch it from where it was made")
    VAR.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="reproduce-", dir=VAR) as name:
        folder = Path(name).resolve()
        if not (
            _done("git", "clone", "--quiet", "--shared", "--no-checkout", ".", str(folder))
            and _done("git", "-C", str(folder), "checkout", "--quiet", "--detach", commit)
        ):
            raise NotRebuilt(f"git could not clone this repository at commit {commit}")
        raw_files.link_into(folder)
        yield folder


def _done(*command: str) -> bool:
    return subprocess.run(command).returncode == 0  # noqa: S603  fixed words and a commit


def _run(folder: Path, *module_and_words: str) -> None:
    """`python -m ...` in a clone, by the clone's own code."""
    command = [sys.executable, "-m", *module_and_words]
    if subprocess.run(command, cwd=folder, env=_environment(folder)).returncode != 0:  # noqa: S603  as above
        raise NotRebuilt(f"`{' '.join(module_and_words[:3])}` failed there; what it said stands above")


def _environment(folder: Path) -> dict[str, str]:
    """This one's, but for what leads to code or caches outside the clone."""
    return environment.project_variables(os.environ, folder)
