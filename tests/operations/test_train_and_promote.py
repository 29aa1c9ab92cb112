"""`make train` is killed, interrupted or started twice: it leaves no process behind, and the next run succeeds.

In a small pipeline with the real DVC and git; the stages write two files, slowly.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # dvc brings it, and nobody its types
import pytest

from ontime import environment
from tests import PARAMS_YAML, ROOT
from tests.service import wait_for

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
SCRIPT = (
    "from pipelines.operations import promote, train_and_promote as training; "
    "promote.main = lambda: print('promoted'); training.main()"
)
ALL_OUTPUTS = {"first/one", "first/other", "second/one", "second/other"}


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
        variables = environment.project_variables(os.environ) | {"DVC_SITE_CACHE_DIR": str(self.folder / "var/dvc")}
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            cwd=self.folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def trained(self) -> str:
        """The output of a run to its end, which must succeed."""
        self.stages_take(0)
        process = self.train()
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        assert output.splitlines()[-1] == "promoted"
        return output

    def outputs(self) -> set[str]:
        return {
            f"{path.parent.name}/{path.name}" for name in ("first", "second") for path in self.folder.glob(f"{name}/*")
        }

    def processes(self) -> list[psutil.Process]:
        """All processes that run in this folder."""
        return [each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(self.folder)]

    def wait_for_stage(self, name: str) -> psutil.Process:
        """The process of the stage, once it has written half of its output."""
        wait_for((self.folder / name / "one").exists, seconds=60)
        (stage,) = [each for each in self.processes() if each.cmdline()[-2:] == ["stage.py", name]]
        return stage


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.mark.parametrize("victim", ["make train", "dvc", "stage"])
@pytest.mark.parametrize("name", ["first", "second"])
def test_a_killed_training_leaves_nothing_running_and_the_next_one_continues(
    victim: str, name: str, workspace: Workspace
) -> None:
    workspace.stages_take(60 if name == "first" else 2)
    process = workspace.train()
    stage = workspace.wait_for_stage(name)
    dvc = next(each for each in stage.parents() if "dvc" in each.cmdline())

    {"make train": process, "dvc": dvc, "stage": stage}[victim].kill()

    output, _ = process.communicate(timeout=60)
    wait_for(lambda: workspace.processes() == [], seconds=60)
    assert victim == "make train" or "run `make train` again to continue after the last complete stage" in output
    workspace.trained()
    assert workspace.outputs() == ALL_OUTPUTS


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_stops_the_stage_and_reports_how_to_continue(
    sent: signal.Signals, workspace: Workspace
) -> None:
    workspace.stages_take(60)
    process = workspace.train()
    workspace.wait_for_stage("first")

    process.send_signal(sent)

    output, _ = process.communicate(timeout=60)
    assert output.splitlines()[-1] == (
        "train: interrupted; run `make train` again to continue after the last complete stage"
    )
    assert process.returncode == 130
    wait_for(lambda: workspace.processes() == [], seconds=60)


def test_a_second_training_is_refused_while_the_first_runs(workspace: Workspace) -> None:
    workspace.stages_take(4)
    first = workspace.train()
    workspace.wait_for_stage("first")

    second = workspace.train()

    output, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert output.startswith(f"train: make train (process {first.pid}, since ")
    assert first.communicate(timeout=60)[0].splitlines()[-1] == "promoted"
    assert workspace.outputs() == ALL_OUTPUTS


def test_an_error_in_the_parameters_is_reported_before_any_stage_runs(workspace: Workspace) -> None:
    params = workspace.folder / "params.yaml"
    params.write_text(params.read_text().replace("at_least: 15", "at_least: thirty"))

    process = workspace.train()
    output, _ = process.communicate(timeout=120)

    assert process.returncode == 1
    assert "label.at_least" in output
    assert "Traceback" not in output
    assert workspace.outputs() == set()


@pytest.mark.parametrize("half", ["", "schema: '2.0'\nstages:\n  first:\n    cmd: 'pyth"])
def test_a_truncated_dvc_lock_is_rebuilt(half: str, workspace: Workspace) -> None:
    workspace.trained()
    whole = (workspace.folder / "dvc.lock").read_text()
    (workspace.folder / "dvc.lock").write_text(half)

    output = workspace.trained()

    assert "dvc.lock is incomplete after an interruption; rebuilding it from DVC's cache" in output
    assert (workspace.folder / "dvc.lock").read_text() == whole


@pytest.mark.parametrize("half", [True, False])
def test_the_lock_of_a_dead_dvc_is_ignored(half: bool, workspace: Workspace) -> None:
    """Its process id may have been reused, for example by this process, and the file may be truncated."""
    writes = {str(workspace.folder / "first"): {"pid": os.getpid(), "cmd": "dvc repro"}}
    left = json.dumps({"write": writes, "read": {}})
    (workspace.folder / ".dvc/tmp").mkdir()
    (workspace.folder / ".dvc/tmp/rwlock").write_text(left[:20] if half else left)

    workspace.trained()

    assert workspace.outputs() == ALL_OUTPUTS
