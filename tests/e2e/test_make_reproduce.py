"""A registered version, rebuilt from its number: nothing of it is in the workspace any more.

All of it in a folder that was moved after its training, with names that a shell would misread: see tiny_original.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.project import Project

ONE_THREAD = "OMP_NUM_THREADS=1"


@pytest.fixture(scope="module")
def project(tiny_original: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Version 1 was trained with uncommitted parameters; here, the workspace is as committed."""
    moved = tiny_original.copied(tmp_path_factory.mktemp("elsewhere") / "moved & here")
    moved.git("reset", "--quiet", "--hard", "adopted")
    return moved


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


def test_it_predicts_the_same(project: Project) -> None:
    output = project.make("reproduce", "VERSION=1", ONE_THREAD)

    for stage in ("ingest", "validate", "features", "train", "evaluate"):
        assert re.search(rf"^{stage}: ", output, re.MULTILINE), stage
    commit = project.git("rev-parse", "HEAD")[:7]
    last = output.splitlines()[-1]
    assert re.fullmatch(
        rf"reproduce: version 1 rebuilt from commit {commit}: predictions identical over \d,\d+ appointments", last
    )
    assert left_behind(project) == []
    assert project.git("status", "--porcelain") == ""


def test_made_from_other_parameters_it_is_said_to_differ(project: Project) -> None:
    with recorded_with(project, "seed: 2013", "seed: 7"):
        completed = project.attempt("reproduce", "VERSION=1", ONE_THREAD)

    assert completed.returncode != 0
    assert "the inputs of its stages differ from the record: params.yaml train\n" in completed.stdout
    assert re.search(
        r": predictions differ by up to 0\.\d+ \(appointment A\d+\) over .*; these outputs differ: .*models",
        completed.stdout,
    )
    assert left_behind(project) == []


def test_when_a_stage_fails_nothing_is_claimed_and_nothing_left(project: Project) -> None:
    with recorded_with(project, "dataset: tiny", "dataset: tinier"):
        completed = project.attempt("reproduce", "VERSION=1", ONE_THREAD)

    assert completed.returncode != 0
    assert "reproduce: `dvc repro evaluate` failed in the clone" in completed.stdout
    assert "rebuilt" not in completed.stdout
    assert left_behind(project) == []


def listing(folder: Path) -> dict[Path, tuple[int, str]]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".venv" not in path.parts)
    return {path: (path.stat().st_mtime_ns, sha256(path.read_bytes()).hexdigest()) for path in files}


class Copied(NamedTuple):
    """A copy without its repository, and what `make train` printed in it."""

    project: Project
    output: str
    unchanged: bool  # whether the folder that it comes from is as it was


@pytest.fixture(scope="module")
def copied(tiny_original: Project, tmp_path_factory: pytest.TempPathFactory) -> Copied:
    """Trained again with other parameters of `evaluate`, and without a full card, as in a retraining."""
    copy = tiny_original.copied(tmp_path_factory.mktemp("without") / "a copy", repository=False)
    before, params = listing(tiny_original.folder), copy.folder / "params.yaml"
    for changed, into in (("full_card: true", "full_card: false"), ("slice_min_rows: 200", "slice_min_rows: 300")):
        assert changed in params.read_text()
        params.write_text(params.read_text().replace(changed, into))
    output = copy.make("train", ONE_THREAD)
    return Copied(copy, output, listing(tiny_original.folder) == before)


def test_a_copy_without_its_repository_trains_into_itself_and_says_what_it_cannot_do(copied: Copied) -> None:
    assert copied.unchanged
    assert re.findall(r"^Running stage '(\w+)'", copied.output, re.MULTILINE) == ["evaluate"]
    assert "reproduced: unknown, because nothing is committed to compare with" in copied.output
    assert re.search(r"^gate: \w+ version 2 against release 1", copied.output, re.MULTILINE)
    assert (copied.project.folder / "releases/2/manifest.json").exists()
    for command in ("reproduce VERSION=1", "retrain NOW=1", "replay MONTHS=1"):
        refused = copied.project.attempt(*command.split())
        assert refused.returncode != 0
        assert "nothing is committed yet: run git init && git add -A && git commit" in refused.stdout
        assert len(refused.stdout.splitlines()) == 2  # and make's own


def test_its_card_speaks_of_no_picture_that_was_not_drawn(copied: Copied) -> None:
    """As of each candidate of a retraining: `evaluate.full_card` is false."""
    artifacts = copied.project.folder.glob("var/mlflow-artifacts/*/artifacts")
    undrawn = [each for each in artifacts if "full_card: false" in (each / "params.yaml").read_text()]

    assert len(undrawn) == len(copied.project.json("reports/metrics.json")["candidates"])
    for folder in undrawn:
        card = (folder / "model_card.md").read_text()
        assert "nothing was drawn" in card
        assert "![" not in card
        assert not (folder / "plots").exists()
