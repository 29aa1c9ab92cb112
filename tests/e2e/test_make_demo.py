"""`make demo` with the smallest problem: every step happens, and nothing is left behind, also after Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest

from tests.project import Project
from tests.service import wait_for

# In the order in which they are told.
OUTCOMES = {
    "train": r"Release 1 is live\.",
    "serve": r"240 predictions over HTTP .* monitor: 2020-\d\d-\d\d: nothing: nothing is wrong",
    "fault": r"appointments\.days_ahead arrives 10 times too large .* \d+ -> \d+0 .* quarantines it",
    "alert": r"quarantined_batches ▁▁▁▁█ \d \(limit 0\) .* monitor: 2020-\d\d-\d\d: stop: quarantined_batches",
    "retrain": r"monitor: 2020-\d\d-\d\d: retrain: 9 days since .* The gate lets release 2 pass",
    "shadow": r"monitor: 2020-\d\d-\d\d: promote: release 2 passed the gate .* Release 2 is live, with release 1",
    "force": r"The gate rejects it\. .* on record: 'forced', by \S+\. Release 2 is now its shadow",
    "rollback": r": roll back: the champion is worse than release 2 .* Release 2 is live again, and made all 60",
    "end": r"1( 1)* 2( 3)+ 2 .* decisions in an intact chain",
}


MARGIN = 'margin_log_loss: 0.002   # "not worse"', 'margin_log_loss: 0.02   # "not worse"'


class Watched(NamedTuple):
    status: int
    text: str  # with single spaces
    left: list[Path]
    changed: set[Path]  # in the project's own folders


def stored(project: Project) -> dict[Path, float]:
    """The releases, databases and data of the project, and when each was changed."""
    folders = (project.folder / name for name in ("releases", "var", "data", "models", "reports", ".git"))
    return {path: path.stat().st_mtime for folder in folders for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def demo(tiny: Project, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    params = tiny.folder / "params.yaml"
    # Not committed: the demo works with the files as they are. So few rows do not show that a model is no worse.
    params.write_text(params.read_text().replace(*MARGIN))
    tiny.git("status")  # writes git's index
    temporary, before = tmp_path_factory.mktemp("temporary"), stored(tiny)
    completed = tiny.attempt("demo", TMPDIR=str(temporary), OMP_NUM_THREADS="1")
    changed = {path for path, _ in stored(tiny).items() ^ before.items()}
    return Watched(completed.returncode, " ".join(completed.stdout.split()), [*temporary.iterdir()], changed)


def test_every_step_happens_in_this_order(demo: Watched) -> None:
    assert demo.status == 0, demo.text
    assert re.search(".*".join(OUTCOMES.values()), demo.text), demo.text


def test_nothing_is_left_and_nothing_of_the_project_changes(demo: Watched) -> None:
    assert demo.left == []
    assert demo.changed == set()


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def processes_in(folder: Path) -> list[str]:
    """The processes that work in a folder, or name it."""
    lines = []
    for process in psutil.process_iter(["cwd", "cmdline"]):
        words = [process.info["cwd"] or "", *(process.info["cmdline"] or ())]
        if any(str(folder) in word for word in words):
            lines.append(" ".join(words))
    return lines


def test_ctrl_c_leaves_no_folder_and_no_process(tiny: Project, temporary: Path) -> None:
    variables = tiny.environment(TMPDIR=str(temporary), PYTHONPATH=f"{tiny.folder}:{tiny.folder / 'src'}")
    with subprocess.Popen(
        [sys.executable, "-m", "cli", "demo"], cwd=tiny.folder, env=variables, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        wait_for(lambda: any("dvc" in line for line in processes_in(temporary)), seconds=60)
        os.killpg(process.pid, signal.SIGINT)
        errors = process.communicate(timeout=60)[1]

    assert (process.returncode, errors.splitlines()[-1]) == (130, "demo: interrupted")
    assert [*temporary.iterdir()] == []
    wait_for(lambda: processes_in(temporary) == [])
