"""What a stage refuses is told apart from what breaks, also through the DVC that runs the stage."""

import subprocess
import sys
from pathlib import Path

import pytest

from ontime import refusal

STAGE = """
from ontime import refusal
with refusal.exit_on_refusal("train"):
    {body}
"""
REFUSES = 'raise refusal.Refusal("feature x uses information from after the prediction moment.\\nLook at x.")'
BREAKS = 'raise ValueError("no disk")'


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    def run(body: str) -> "subprocess.CompletedProcess[str]":
        (tmp_path / "stage.py").write_text(STAGE.format(body=body))
        (tmp_path / "dvc.yaml").write_text(f"stages: {{train: {{cmd: '{sys.executable} stage.py'}}}}")
        for command in (("git", "init", "-q"), (sys.executable, "-m", "dvc", "init", "-q")):
            subprocess.run(command, cwd=tmp_path, check=True)
        repro = (sys.executable, "-m", "dvc", "repro")
        return subprocess.run(repro, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    return run


@pytest.mark.slow
def test_a_refusal_is_found_in_the_output_of_dvc(run) -> None:  # type: ignore[no-untyped-def]
    ended = run(REFUSES)

    assert ended.returncode
    assert "Traceback" not in ended.stdout
    assert (
        refusal.find_refusal(ended.stdout)
        == "train: feature x uses information from after the prediction moment.\nLook at x."
    )


@pytest.mark.slow
def test_what_breaks_is_no_refusal(run) -> None:  # type: ignore[no-untyped-def]
    ended = run(BREAKS)

    assert ended.returncode
    assert refusal.find_refusal(ended.stdout) is None
