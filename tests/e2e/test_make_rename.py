"""Another name for the project, by one command: checked, renamed back, and trained."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pipelines.tools.rename import UNCHANGED
from tests import ROOT
from tests.project import Project

NAME: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]
# The second is for a project that has taken the first.
ARGUMENT = next(each for each in ("NAME=punctual", "NAME=meridian") if each != f"NAME={NAME}")
NEW = ARGUMENT.partition("=")[2]
# What `make check` runs, but types, which take minutes; and tests that import the package and read its settings.
CHECKS = {
    "lint": "-m ruff check",
    "format": "-m ruff format --check",
    "imports": "-c from\timportlinter.cli\timport\tlint_imports_command;lint_imports_command()",
    "repository": "-m pytest tests/repository/test_rules.py tests/repository/test_pipeline.py",
    "unit": "-m pytest tests/library/test_settings.py tests/tools/test_rename.py",
}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("before"))
    for name, value in (("user.name", "test"), ("user.email", "test@localhost")):
        made.git("config", name, value)
    return made


@pytest.fixture(scope="module")
def project(before: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    renamed = before.copied(tmp_path_factory.mktemp("renamed") / "project")
    renamed.make("rename", ARGUMENT)
    return renamed


def test_the_old_name_stays_only_where_the_origin_is_credited(project: Project) -> None:
    holding = project.git("grep", "--ignore-case", "--files-with-matches", NAME).split()

    assert set(holding) <= set(UNCHANGED)
    assert NAME not in project.git("ls-files")
    assert not (project.folder / "src" / NAME).exists()


@pytest.mark.parametrize("check", CHECKS)
def test_its_checks_pass(check: str, project: Project) -> None:
    completed = subprocess.run(
        [sys.executable, *CHECKS[check].split(" ")], cwd=project.folder, env=project.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip

    assert completed.returncode == 0, completed.stdout


def test_renaming_it_back_restores_every_byte(before: Project, tmp_path: Path) -> None:
    there_and_back = before.copied(tmp_path / "project")
    same_length = "q" * len(NAME)  # a longer one wraps lines, which stay wrapped

    there_and_back.make("rename", f"NAME={same_length}")
    there_and_back.git("commit", "--quiet", "--all", "--message", "renamed")
    there_and_back.make("rename", f"NAME={NAME}")

    assert there_and_back.git("diff", "--stat", "HEAD~1") == ""


def test_another_problem_trains_under_the_new_name(before: Project, tmp_path: Path) -> None:
    made = before.copied(tmp_path / "project")
    made.make("adopt", "FROM=tests/tiny")
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message", "adopt")

    made.make("rename", ARGUMENT)
    output = made.make("train", "OMP_NUM_THREADS=1")

    assert "promote: release 1" in output
    assert (made.folder / f"var/{NEW}.db").is_file()
    assert made.json("releases/current.json")
