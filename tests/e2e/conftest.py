"""A project with the smallest problem, adopted and trained once for all tests that need it."""

import pytest

from tests.project import Project


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One table, no lead, no stored features. Git tags: `whole` before the adoption, `trained` after the training."""
    made = Project(tmp_path_factory.mktemp("tiny"))
    for name, value in (("user.name", "test"), ("user.email", "test@localhost")):
        made.git("config", name, value)
    made.git("tag", "whole")
    made.make("adopt", "FROM=tests/tiny")
    made.make("train", "OMP_NUM_THREADS=1")
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message", "trained")
    made.git("tag", "trained")
    return made
