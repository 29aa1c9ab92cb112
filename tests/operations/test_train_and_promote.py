"""`make train` is killed, interrupted or asked for twice: nothing goes on unseen, and the next one works.

In a small pipeline of its own, with the real DVC and the real git; the stages only write, slowly, in two halves.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # dvc brings it, and nobody its types
import pytest

from ontime import environment
from tests import PARAMS_YAML, ROOT

pytestmark = pytest.mark.slow

STAGE = """
import sys, time
from pathlib import Path

folder = Path(sys.argv[1])
folder.mkdir()
for half in ("one", "other"):
    (folder / half).write_text(half)
    time.sleep(float(Path("seconds").read_text()))
"""
PIPELINE = """
stages:
  first:
    cmd: python stage.py first
    deps: [stage.py]
    outs: [first]
  second:
    cmd: python stage.py second
    deps: [first, stage.py]
    outs: [second]
"""
PROMOTES = (
    "from pipelines.operations import promote, train_and_promote as training; "
    "promote.main = lambda: print('promoted'); training.main([])"
)
DONE = {"first/one", "first/other", "second/one", "second/other"}


class Workspace:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / ".dvc").mkdir()
        shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")
        shutil.copy(PARAMS_YAML, folder / "params.yaml")
        shutil.copy(ROOT / ".dvc/.gitignore", folder / ".dvc/.gitignore")
        for name, text in (("stage.py", STAGE), ("dvc.yaml", PIPELINE), (".gitignore", "/var\n/seconds\n")):
            (folder / name).write_text(text)
        self.stages_take(0)
        for words in ("init -q", "add .", "-c user.name=t -c user.email=t@localhost commit -qm all"):
            subprocess.run(["git", *words.split()], cwd=folder, check=True)

    def stages_take(self, seconds: float) -> None:
        (self.folder / "seconds").write_text(str(seconds / 2))

    def train(self) -> "subprocess.Popen[str]":
        given = environment.settled(os.environ) | {"DVC_SITE_CACHE_DIR": str(self.folder / "var/dvc")}
        return subprocess.Popen(
            [sys.executable, "-c", PROMOTES],
            cwd=self.folder,
            env=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def trained(self) -> str:
        """What it says when it is run to its end, which must be a good one."""
        self.stages_take(0)
        process = self.train()
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert said.splitlines()[-1] == "promoted"
        return said

    def outputs(self) -> set[str]:
        return {
            f"{path.parent.name}/{path.name}" for name in ("first", "second") for path in self.folder.glob(f"{name}/*")
        }

    def processes(self) -> list[psutil.Process]:
        """All that work in this folder."""
        return [each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(self.folder)]

    def wait_for_stage(self, name: str) -> psutil.Process:
        """The process of the stage, which has written half of its output."""
        wait_for(lambda: (self.folder / name / "one").exists())
        (found,) = [each for each in self.processes() if each.cmdline()[-2:] == ["stage.py", name]]
        return found


def wait_for(what: Callable[[], bool]) -> None:
    for _ in range(1200):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within a minute")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.mark.parametrize("victim", ["make train", "dvc", "stage"])
@pytest.mark.parametrize("name", ["first", "second"])
def test_what_was_killed_leaves_nothing_running_and_the_next_training_goes_on(
    victim: str, name: str, workspace: Workspace
) -> None:
    workspace.stages_take(60 if name == "first" else 2)
    process = workspace.train()
    stage = workspace.wait_for_stage(name)
    dvc = next(each for each in stage.parents() if "dvc" in each.cmdline())

    {"make train": process, "dvc": dvc, "stage": stage}[victim].kill()

    said, _ = process.communicate(timeout=60)
    wait_for(lambda: workspace.processes() == [])
    assert victim == "make train" or "`make train` again goes on after the last complete stage" in said
    workspace.trained()
    assert workspace.outputs() == DONE


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_stage_and_says_how_to_go_on(sent: signal.Signals, workspace: Workspace) -> None:
    workspace.stages_take(60)
    process = workspace.train()
    workspace.wait_for_stage("first")

    process.send_signal(sent)

    said, _ = process.communicate(timeout=60)
    assert said.splitlines()[-1] == ("train: interrupted; `make train` again goes on after the last complete stage")
    wait_for(lambda: workspace.processes() == [])


def test_a_second_training_is_refused_while_the_first_works(workspace: Workspace) -> None:
    workspace.stages_take(4)
    first = workspace.train()
    workspace.wait_for_stage("first")

    second = workspace.train()

    said, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert said.startswith(f"train: make train (process {first.pid}, since ")
    assert first.communicate(timeout=60)[0].splitlines()[-1] == "promoted"
    assert workspace.outputs() == DONE


def test_a_mistake_in_the_parameters_is_told_before_any_stage_runs(workspace: Workspace) -> None:
    params = workspace.folder / "params.yaml"
    params.write_text(params.read_text().replace("at_least: 15", "at_least: thirty"))

    process = workspace.train()
    told, _ = process.communicate(timeout=120)

    assert process.returncode == 1
    assert "label.at_least" in told
    assert "Traceback" not in told
    assert workspace.outputs() == set()


@pytest.mark.parametrize("half", ["", "schema: '2.0'\nstages:\n  first:\n    cmd: 'pyth"])
def test_a_lock_file_that_was_cut_off_is_made_again(half: str, workspace: Workspace) -> None:
    workspace.trained()
    whole = (workspace.folder / "dvc.lock").read_text()
    (workspace.folder / "dvc.lock").write_text(half)

    said = workspace.trained()

    assert "dvc.lock was cut off: removed, and made again from DVC's cache" in said
    assert (workspace.folder / "dvc.lock").read_text() == whole


@pytest.mark.parametrize("half", [True, False])
def test_what_a_dead_dvc_wrote_down_stops_nobody(half: bool, workspace: Workspace) -> None:
    """Its number may be another process's by now, such as this one's, and the file may be half of one."""
    writes = {str(workspace.folder / "first"): {"pid": os.getpid(), "cmd": "dvc repro"}}
    left = json.dumps({"write": writes, "read": {}})
    (workspace.folder / ".dvc/tmp").mkdir()
    (workspace.folder / ".dvc/tmp/rwlock").write_text(left[:20] if half else left)

    workspace.trained()

    assert workspace.outputs() == DONE
