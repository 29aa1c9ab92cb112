"""A project with the smallest problem, adopted and trained once for all tests that need it."""

import shutil
from pathlib import Path

import pytest

from ontime import locks
from tests.project import Project

# In params.yaml, before the training. Of another length: git overlooks an equally long change within a second.
UNCOMMITTED = "c: 0.1\n", "c: 0.05\n"


@pytest.fixture(scope="session")
def tiny_original(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One table, no lead, no stored features. Moved after its training, so no path that it has recorded exists.

    Git tags: `whole` before the adoption, `adopted`, and `trained`, with parameters that were committed only after the
    training. All workers of this pytest run share it, so no test may change it: use `tiny`.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-") else base  # pytest-xdist's workers have folders below it
    folder, trained_in, complete = shared / "tiny", shared / "it's a clone", shared / "tiny.complete"
    with locks.wait_and_hold(shared / "tiny.lock", "the training of tests/tiny"):
        if not complete.exists():
            for half in (folder, trained_in):  # of a process that was killed
                shutil.rmtree(half, ignore_errors=True)
            trained_in.mkdir()
            _train(trained_in)
            trained_in.rename(folder)
            complete.touch()
    return Project.at(folder)


@pytest.fixture(scope="module")
def tiny(tiny_original: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy for the tests of one file."""
    return tiny_original.copied(tmp_path_factory.mktemp("tiny") / "project")


def _train(folder: Path) -> None:
    made = Project(folder)
    for name, value in (("user.name", "test"), ("user.email", "test@localhost")):
        made.git("config", name, value)
    made.git("tag", "whole")
    made.make("adopt", "FROM=tests/tiny")
    _commit(made, "adopted")
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace(*UNCOMMITTED))
    made.make("train", "OMP_NUM_THREADS=1")
    _commit(made, "trained")


def _commit(made: Project, tag: str) -> None:
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message", tag)
    made.git("tag", tag)
