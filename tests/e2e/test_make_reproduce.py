"""A registered version, rebuilt from its number: nothing of it is in the workspace any more.

All of it in a folder that was moved after its training, into a path that a shell would read otherwise.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.project import Project

ONE_THREAD = "OMP_NUM_THREADS=1"
SMALL: dict[str, dict[str, Any]] = {
    "split": {
        "train_from": "2013-01-01",
        "valid_from": "2013-02-01",
        "test_from": "2013-02-15",
        "test_until": "2013-03-01",
    },
    "train": {"candidates": ["rate_table", "lightgbm"]},
    "evaluate": {"full_card": False},
}


def small(params_yaml: str, **changed: dict[str, Any]) -> str:
    """Two months, two candidates, few trees."""
    params = yaml.safe_load(params_yaml)
    params["known_until"] = "2013-03-02T00:00:00+00:00"
    for section, values in SMALL.items():
        params[section] |= values
    params["train"]["lightgbm"]["n_estimators"] = 20
    for section, values in changed.items():
        params[section] |= values
    return yaml.safe_dump(params)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Version 1 is trained with uncommitted parameters; afterwards the workspace is as committed."""
    made = Project(tmp_path_factory.mktemp("it's a clone"))
    params = made.folder / "params.yaml"
    params.write_text(small(params.read_text()))
    made.make("train", ONE_THREAD)
    made.git("reset", "--quiet", "--hard")
    made.folder = made.folder.rename(made.folder.with_name("moved & here"))
    return made


@contextmanager
def recorded_with(project: Project, changed: str, into: str) -> Iterator[None]:
    """Within the block, MLflow has other parameters for version 1."""
    originals = {path: path.read_text() for path in project.folder.glob("var/mlflow-artifacts/*/artifacts/params.yaml")}
    for path, text in originals.items():
        assert changed in text
        path.write_text(text.replace(changed, into))
    try:
        yield
    finally:
        for path, text in originals.items():
            path.write_text(text)


def left_behind(project: Project) -> list[Path]:
    return list((project.folder / "var").glob("reproduce-*"))


def test_its_card_speaks_of_no_picture_that_was_not_drawn(project: Project) -> None:
    """As of each candidate of a retraining: `evaluate.full_card` is false."""
    cards = list(project.folder.glob("var/mlflow-artifacts/*/artifacts/model_card.md"))

    assert len(cards) == len(SMALL["train"]["candidates"])
    for card in cards:
        assert "nothing was drawn" in card.read_text()
        assert "![" not in card.read_text()
        assert not (card.parent / "plots").exists()


def test_it_predicts_the_same(project: Project) -> None:
    output = project.make("reproduce", "VERSION=1", ONE_THREAD)

    for stage in ("ingest", "validate", "features", "train", "evaluate"):
        assert re.search(rf"^{stage}: ", output, re.MULTILINE), stage
    commit = project.git("rev-parse", "HEAD")[:7]
    last = output.splitlines()[-1]
    assert re.fullmatch(
        rf"reproduce: version 1 rebuilt from commit {commit}: predictions identical over \d\d,\d+ flights", last
    )
    assert left_behind(project) == []
    assert project.git("status", "--porcelain") == ""


def test_made_from_other_parameters_it_is_said_to_differ(project: Project) -> None:
    with recorded_with(project, "seed: 2013", "seed: 7"):
        completed = project.attempt("reproduce", "VERSION=1", ONE_THREAD)

    assert completed.returncode != 0
    assert "the inputs of its stages differ from the record: params.yaml train\n" in completed.stdout
    assert re.search(
        r": predictions differ by up to 0\.\d+ \(flight \S+\) over .*; these outputs differ: .*models", completed.stdout
    )
    assert left_behind(project) == []


def test_when_a_stage_fails_nothing_is_claimed_and_nothing_left(project: Project) -> None:
    with recorded_with(project, "dataset: flights-2013", "dataset: flights-1913"):
        completed = project.attempt("reproduce", "VERSION=1", ONE_THREAD)

    assert completed.returncode != 0
    assert "reproduce: `dvc repro evaluate` failed in the clone" in completed.stdout
    assert "rebuilt" not in completed.stdout
    assert left_behind(project) == []


def listing(folder: Path) -> dict[Path, tuple[int, str]]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".venv" not in path.parts)
    return {path: (path.stat().st_mtime_ns, sha256(path.read_bytes()).hexdigest()) for path in files}


def test_a_copy_without_its_repository_trains_into_itself_and_says_what_it_cannot_do(
    project: Project, tmp_path: Path
) -> None:
    copied, before = project.copied(tmp_path / "a copy", repository=False), listing(project.folder)
    params = copied.folder / "params.yaml"
    params.write_text(small(params.read_text(), evaluate={"slice_min_rows": 3000}))
    # With the record of what it was trained with, only what the change leads to is made again.
    shutil.copy(next(copied.folder.glob("var/mlflow-artifacts/*/artifacts/dvc.lock")), copied.folder)

    output = copied.make("train", ONE_THREAD)

    assert listing(project.folder) == before
    assert "reproduced: unknown, because nothing is committed to compare with" in output
    assert re.search(r"^gate: \w+ version 2 against release 1", output, re.MULTILINE)
    assert (copied.folder / "releases/2/manifest.json").exists()
    for command in ("reproduce VERSION=1", "retrain NOW=1", "replay MONTHS=1"):
        refused = copied.attempt(*command.split())
        assert refused.returncode != 0
        assert "nothing is committed yet: run git init && git add -A && git commit" in refused.stdout
        assert len(refused.stdout.splitlines()) == 2  # and make's own
