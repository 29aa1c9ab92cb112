"""The commands of docs/models.md that undo a training whose model became live."""

import re
import shutil
import subprocess

from tests import ROOT
from tests.project import Project

ONE_THREAD = "OMP_NUM_THREADS=1"


def undo_commands() -> list[str]:
    page = (ROOT / "docs/models.md").read_text().partition("To undo it:")[2]
    (block,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)[:1]
    return [line.partition("#")[0].strip() for line in block.splitlines()]


def test_the_previous_release_its_parameters_and_reports_are_back(tiny: Project) -> None:
    params, data = tiny.folder / "params.yaml", tiny.folder / "models/training.json"
    before = params.read_text(), data.read_text()
    changed = re.sub(r"(?m)^(  request_only_share:) .*$", r"\1 0.3", before[0])
    params.write_text(changed)
    tiny.make("train", ONE_THREAD)
    if tiny.json("releases/current.json")["version"] == "1":  # the gate has rejected it
        tiny.make("promote", "VERSION=2", "FORCE=1")
    assert changed != before[0]
    assert data.read_text() != before[1]
    assert tiny.json("releases/current.json")["version"] == "2"

    rollback, checkout, train = undo_commands()
    assert (rollback, train) == ("make rollback", "make train")
    tiny.make("rollback")
    subprocess.run([shutil.which("sh") or "sh", "-c", checkout], cwd=tiny.folder, check=True)
    output = tiny.make("train", ONE_THREAD)

    assert "promote: no change: release 1 of this training is live" in output
    assert "Running stage 'train'" not in output
    assert tiny.json("releases/current.json")["version"] == "1"
    assert (params.read_text(), data.read_text()) == before
