"""From a csv to a release: the skeleton of a problem, its questions answered, adopted and trained."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.project import Project

DAYS, A_DAY = 365, 60
MARKED = re.compile(r"^.*DECIDE:.*\n", re.MULTILINE)


def appointments() -> pd.DataFrame:
    """A year in two clinics: booked long ahead, an appointment is missed more often; some ages are not known."""
    drawn, count = np.random.default_rng(1), DAYS * A_DAY
    minute = 24 * 60 * np.repeat(np.arange(DAYS), A_DAY) + drawn.integers(9 * 60, 17 * 60, count)
    north, ahead, reminded = drawn.random(count) < 0.5, drawn.integers(0, 40, count), drawn.random(count) < 0.5
    odds = -2 + 0.06 * ahead + 0.8 * north - 0.8 * reminded
    return pd.DataFrame(
        {
            "Appointment ID": np.arange(1, count + 1),
            "scheduled at": pd.Timestamp("2020-01-01") + pd.to_timedelta(minute, unit="min"),
            "clinic": np.where(north, "north", "south"),
            "days ahead": ahead,
            "age": np.where(drawn.random(count) < 0.1, np.nan, drawn.integers(18, 90, count)),
            "reminded": reminded,
            "outcome": np.where(drawn.random(count) < 1 / (1 + np.exp(-odds)), "missed", "kept"),
        }
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("written"))
    for name, value in (("user.name", "test"), ("user.email", "test@localhost")):
        made.git("config", name, value)
    appointments().to_csv(made.folder.parent / "visits.csv", index=False)
    made.make("new-problem", "NAME=noshows", f"FROM={made.folder.parent / 'visits.csv'}", "LABEL=outcome")
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message", "A first problem")
    return made


def answer(folder: Path) -> None:
    """The guesses are right, but for the clock and a word."""
    for path in (folder / "params.yaml", *folder.glob("problem/*.py")):
        path.write_text(MARKED.sub("", path.read_text()))
    declaration = folder / "problem/__init__.py"
    text = declaration.read_text().replace('ZONE = "UTC"', 'ZONE = "Asia/Kolkata"')
    declaration.write_text(text.replace('positive="positive"', 'positive="missed"'))


def test_a_problem_is_not_adopted_before_its_decisions_are_made(project: Project) -> None:
    listed = project.make("decisions", "FROM=examples/noshows").splitlines()
    refused = project.attempt("adopt", "FROM=examples/noshows")

    assert refused.returncode
    assert listed
    assert all(re.match(r"examples/noshows/[\w/.]+:\d+: \w", line) for line in listed)
    assert all(line in refused.stdout for line in listed)
    assert project.git("status", "--porcelain") == ""


@pytest.fixture(scope="module")
def trained(project: Project) -> Project:
    answer(project.folder / "examples/noshows")
    project.git("commit", "--quiet", "--all", "--message", "Answer")
    project.make("adopt", "FROM=examples/noshows")
    project.make("train", "OMP_NUM_THREADS=1")
    return project


def test_with_its_decisions_made_it_trains_to_a_release(trained: Project) -> None:
    assert trained.json("releases/current.json")["version"] == "1"
    assert "missed" in (trained.folder / "reports/model_card.md").read_text()


def test_its_own_tests_and_the_rules_of_lint_hold(trained: Project) -> None:
    for words in (["pytest", "-q", "tests/problem"], ["ruff", "check", "src/ontime/problem", "tests/problem"]):
        command, environment = [sys.executable, "-m", *words], trained.environment()
        completed = subprocess.run(command, cwd=trained.folder, env=environment, capture_output=True, text=True)

        assert completed.returncode == 0, completed.stdout
