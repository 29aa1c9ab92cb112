"""Rebuilds a version in a clone of its commit, from git and its record alone, without this workspace's caches."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from ontime import environment, files
from ontime.params import PARAMS_FILE
from ontime.registry import Origin
from pipelines.layout import read_json
from pipelines.operations import raw_files, train_and_promote
from pipelines.operations.lineage import LOCK

VAR = Path("var")
LAST_STAGE = "evaluate"  # writes the test predictions; DVC runs it and its dependencies, so not `explore`
LIBRARIES = Path("requirements/train.txt")


class NotRebuilt(Exception):
    """The version cannot be rebuilt; the message says what is missing, or what failed."""


class Deviation(NamedTuple):
    """Between the probabilities of the registered model and of the rebuilt one."""

    entities: int
    largest: float
    entity_id: str  # the entity with the largest difference


class Rebuild(NamedTuple):
    lock: str
    deviation: Deviation
    same_libraries: bool  # whether its commit locks the libraries that are installed here


def rebuild(origin: Origin) -> Rebuild:
    """Run the stages of `origin` again, and compare the models. Raises NotRebuilt."""
    with clone_at(origin.git_commit) as folder:
        (folder / PARAMS_FILE).write_text(origin.params_yaml, encoding="utf-8")
        (folder / LOCK).unlink(missing_ok=True)  # so that DVC skips no stage
        train_and_promote.repair_dvc_state(folder)
        _run(folder, "dvc", "repro", LAST_STAGE)
        registered, output = folder / "registered.onnx", folder / "deviation.json"
        registered.write_bytes(origin.onnx)
        _run(folder, module_of_deviation(folder), str(registered), str(output))
        same_libraries = (folder / LIBRARIES).read_bytes() == LIBRARIES.read_bytes()
        return Rebuild((folder / LOCK).read_text(encoding="utf-8"), Deviation(**read_json(output)), same_libraries)


def module_of_deviation(folder: Path) -> str:
    """The module that measures the deviation, under the name that it has in the clone's commit."""
    # Old commits have the module under a former name, so no name may leave this list.
    names = ("pipelines.tools.prediction_deviation", "pipelines.deviation")
    return next((name for name in names if (folder / f"{name.replace('.', '/')}.py").exists()), names[0])


@contextmanager
def clone_at(commit: str) -> Iterator[Path]:
    """A clone of this repository at `commit`, in a temporary folder that is removed when the block ends.

    Not a `git worktree`: if this process is killed, the user's repository would keep an entry for it. The clone shares
    the objects, so nothing is copied, and commits that no branch contains can be checked out.
    """
    if not _succeeds("git", "cat-file", "-e", f"{commit}^{{commit}}"):
        raise NotRebuilt(f"commit {commit} is not in this repository; fetch it from the repository where it was made")
    files.make_private_folder(VAR)
    with TemporaryDirectory(prefix="reproduce-", dir=VAR) as name:
        folder = Path(name).resolve()
        if not (
            _succeeds("git", "clone", "--quiet", "--shared", "--no-checkout", ".", str(folder))
            and _succeeds("git", "-C", str(folder), "checkout", "--quiet", "--detach", commit)
        ):
            raise NotRebuilt(f"git could not clone this repository at commit {commit}")
        raw_files.link_into(folder)
        yield folder


def _succeeds(*command: str) -> bool:
    return subprocess.run(command).returncode == 0  # noqa: S603  fixed words and a commit


def _run(folder: Path, *module_and_arguments: str) -> None:
    """Run `python -m ...` in a clone, with the clone's code."""
    command = [sys.executable, "-m", *module_and_arguments]
    # On stderr, because it is progress and not the result.
    if subprocess.run(command, cwd=folder, env=_environment(folder), stdout=sys.stderr).returncode:  # noqa: S603  as above
        raise NotRebuilt(f"`{' '.join(module_and_arguments[:3])}` failed in the clone; its output is above")


def _environment(folder: Path) -> dict[str, str]:
    """The environment without variables that refer to code or caches outside the clone."""
    return environment.project_variables(os.environ, folder)
