"""The parts that docs/make-it-yours.md lists can be removed by its commands; the rest imports, trains and serves."""

import re
import shutil
import subprocess

import pytest

from tests import REFERENCE, ROOT
from tests.project import Project
from tests.repository.imports import imported_by
from tests.service import Served

SECTION = (ROOT / "docs/make-it-yours.md").read_text().partition("## Parts you can remove\n")[2]
PARTS: dict[str, str] = dict(
    re.findall(r"^### ([^\n]+)\n\n```bash\n(git rm .+?)\n```", SECTION, re.MULTILINE | re.DOTALL)
)


@pytest.fixture(scope="module")
def project(tiny: Project) -> Project:
    return tiny


def remove(part: str, project: Project) -> None:
    subprocess.run(["bash", "-c", PARTS[part]], cwd=project.folder, check=True)


def test_the_commands_are_read() -> None:
    assert {"Prefect", "Monitoring, with Prefect, the replay and the demo", "Infra"} < set(PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_each_path_that_a_command_names_exists(part: str, project: Project) -> None:
    project.git("reset", "--quiet", "--hard", "whole")

    command = PARTS[part].replace("--ignore-unmatch", "--dry-run")
    if REFERENCE.is_dir():  # another problem was adopted, and the tests of flights have left
        command = re.sub(r" tests/problem/\S+", "", command)
    subprocess.run(["bash", "-c", command], cwd=project.folder, check=True)


@pytest.mark.parametrize("part", PARTS)
def test_nothing_that_stays_imports_what_went(part: str, project: Project) -> None:
    project.git("reset", "--quiet", "--hard", "whole")
    before = modules(project)

    remove(part, project)

    gone = before - modules(project)
    assert gone
    assert {
        path: sorted(missing)
        for path in project.git("ls-files", "*.py").split()
        if (missing := imported_by(project.folder / path) & gone)
    } == {}


def modules(project: Project) -> set[str]:
    return {
        path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in project.git("ls-files", "*.py").split()
    }


def test_without_all_of_them_every_stage_runs_and_a_release_answers(project: Project) -> None:
    project.git("reset", "--quiet", "--hard", "trained")
    for part in PARTS:
        remove(part, project)
    for made in ("releases", "var", "data/features", "models", ".dvc/cache"):
        shutil.rmtree(project.folder / made)

    output = project.make("train", "OMP_NUM_THREADS=1")
    service = Served(project)
    try:
        listed = service.get("/v1/entities?day=2020-07-15&limit=3")["entities"]
        answers = service.post("/v1/predictions", [each["request"] for each in listed])
    finally:
        service.kill()

    assert "promote: release 1" in output
    assert [answer["model_version"] for answer in answers] == ["1"] * 3
