"""A project in which the smallest problem was adopted and trained, once for all who need one."""

import pytest

from tests.project import Project


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One table, no lead, nothing to look up. The tags: `whole` as the project is, `trained` with all that was made."""
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
