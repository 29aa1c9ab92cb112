"""docs/episodes.md: what it breaks is stopped with the message that it quotes, and undone by its commands."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ontime import release, release_pointer, signatures
from tests import ROOT
from tests.project import Project
from tests.small_world import Small

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs/episodes.md").read_text()
EPISODES = {each.partition(".")[0]: each for each in re.split(r"^## (?=\d\.)", PAGE, flags=re.MULTILINE)[1:]}
# The others need what a training left. Of 4 and 7, these tests hold the beginning of the message.
HELD_ELSEWHERE = {
    "4": ("tests/operations/test_promotion_checks.py", "release 2 is not promoted: "),
    "7": ("tests/e2e/test_adopt.py", "adopt: releases, var/mlflow.db, var/ontime.db would be deleted"),
}
TRAINS = {"2"}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def broken(number: str) -> tuple[list[str], list[str], str]:
    """The commands that break something, the messages, and the commands that undo it, if any is needed."""
    text = EPISODES[number]
    after = text[text.index("**You learn**" if number == "5" else "**Break it**") :]
    damage, _, repair = after.partition("**Undo it")
    return blocks(damage, "bash"), blocks(damage, "text"), "".join(blocks(repair, "bash")[:1])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, small: Small) -> Project:
    """A clone with a release of a small model."""
    made = Project(tmp_path_factory.mktemp("episodes"))
    release.publish(made.folder / "releases", small.contents, small.manifest("1"))
    release_pointer.set_live(made.folder / "releases", "1")
    (made.folder / "var/signing").mkdir(parents=True)
    shutil.copy(signatures.trusted_keys_path(), made.folder / "var/signing/trusted_keys")
    return made


def run(project: Project, commands: str) -> str:
    """The output of these lines in a shell, with a `make` that installs nothing."""
    make = f'make() {{ command {shlex.join(project.command())} "$@"; }}\n'
    path = f"{project.folder / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", make + commands],
        cwd=project.folder,
        env=project.environment(PATH=path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ).stdout


def state(project: Project) -> tuple[str, bytes, list[Path]]:
    model = project.folder / "releases/1" / release.MODEL
    return project.git("status", "--porcelain"), model.read_bytes(), [*(project.folder / "var").glob("*.onnx")]


@pytest.mark.parametrize("number", sorted(EPISODES.keys() - HELD_ELSEWHERE.keys() - TRAINS))
def test_what_it_breaks_is_stopped_as_it_says_and_undone(number: str, project: Project) -> None:
    before = state(project)
    damages, messages, repair = broken(number)

    outputs = [run(project, damage) for damage in damages]
    run(project, repair)

    assert len(outputs) == len(messages) > 0
    for output, message in zip(outputs, messages, strict=True):
        assert [line for line in message.splitlines() if line not in output] == []
    assert state(project) == before


@pytest.mark.parametrize("number", HELD_ELSEWHERE)
def test_the_other_messages_are_held_by_a_test(number: str) -> None:
    file, beginning = HELD_ELSEWHERE[number]
    _, messages, _ = broken(number)

    assert any(beginning in message for message in messages)
    assert beginning in (ROOT / file).read_text()


def test_the_verdict_of_the_gate_is_about_the_committed_scores() -> None:
    scores = json.loads((ROOT / "reports/metrics.json").read_text())["candidates"]
    challenger, champion = (scores[name]["test"] for name in ("hist_gradient_boosting", "lightgbm"))
    of_both = [round(each["log_loss"], 4) for each in (challenger, champion)]

    assert f"log-loss {of_both[0]:.4f} minus {of_both[1]:.4f} = {of_both[0] - of_both[1]:+.4f}" in EPISODES["2"]
    assert f"even higher, {challenger['auc']:.4f}" in EPISODES["2"]


def test_there_are_seven_and_each_has_a_file_to_read() -> None:
    assert [*EPISODES] == list("1234567")
    assert [number for number, text in EPISODES.items() if not re.search(r"\*\*Read\*\* \[", text)] == []
