"""The cells of docs/notebook.md run in plain Python, too, as the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

NOTEBOOK = ROOT / "docs/notebook.md"


@pytest.mark.slow
def test_the_cells_can_be_copied(tmp_path: Path) -> None:
    if not NOTEBOOK.exists():
        assert (ROOT / "tests/reference").is_dir(), "only another problem, which was adopted, has no notebook"
        return
    cells = re.findall(r"```\{code-cell\} ipython3\n(?:---\n.*?---\n)?(.*?)```", NOTEBOOK.read_text(), re.DOTALL)
    shown = [cell for cell in cells if ":tags: [remove-cell]" not in cell]
    saved = f"figures.save(picture, Path({str(tmp_path / 'late.png')!r}))"

    copied = "\n".join([*shown, saved])
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    completed = subprocess.run(
        [sys.executable, "-c", copied], cwd=ROOT, env=environment, capture_output=True, text=True
    )

    assert len(shown) >= 6
    assert completed.returncode == 0, completed.stderr
    assert "the contributions add up to" in completed.stdout
    assert (tmp_path / "late.png").read_bytes().startswith(b"\x89PNG")
