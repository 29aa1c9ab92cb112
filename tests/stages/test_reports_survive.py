"""A stage that fails leaves the committed reports unchanged, byte for byte."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from ontime import card
from ontime.params import PARAMS_FILE
from pipelines import evaluate, train
from pipelines.layout import FEATURES, write_table
from tests import PARAMS_YAML, ROOT

pytestmark = pytest.mark.slow

STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
DAYS = {"train_from": "2013-02-04", "valid_from": "2013-02-15", "test_from": "2013-02-18", "test_until": "2013-02-25"}


def committed_outputs(stage: str) -> list[str]:
    """The outputs of a stage that git tracks."""
    outs = [each for kind in ("outs", "plots", "metrics") for each in STAGES[stage].get(kind, [])]
    return [path for each in outs if isinstance(each, dict) for path, says in each.items() if says["cache"] is False]


REPORTING = [stage for stage in STAGES if committed_outputs(stage)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_stage_with_a_report_is_tested() -> None:
    assert REPORTING == ["validate", "explore", "features", "evaluate"]


@pytest.mark.parametrize("stage", REPORTING)
def test_dvc_deletes_no_report_before_a_stage_that_fails(stage: str, tmp_path: Path) -> None:
    alone = {**STAGES[stage], "cmd": f"{sys.executable} -c 'raise SystemExit(1)'", "deps": [], "params": []}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {stage: alone}}))
    for path in committed_outputs(stage):
        report = tmp_path / path if "." in Path(path).name else tmp_path / path / "one.png"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text("what was there")
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    before = {path: text for path, text in contents(tmp_path).items() if text == b"what was there"}

    command = [sys.executable, "-m", "dvc", "repro", stage]
    inside = {**os.environ, "DVC_SITE_CACHE_DIR": str(tmp_path / "dvc")}
    ran = subprocess.run(command, cwd=tmp_path, env=inside, capture_output=True, text=True)

    assert ran.returncode != 0
    assert "failed to reproduce" in ran.stderr
    assert before
    assert {path: contents(tmp_path).get(path) for path in before} == before


@pytest.fixture
def evaluated(weeks: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which `train` and `evaluate` have run on three weeks."""
    params = yaml.safe_load(PARAMS_YAML.read_text())
    params["split"].update(DAYS)
    params["train"].update(candidates=["rate_table", "logistic"])
    params["evaluate"].update(full_card=False)
    monkeypatch.chdir(tmp_path)
    PARAMS_FILE.write_text(yaml.safe_dump(params))
    write_table(weeks, FEATURES / "2013-02.parquet")
    train.main()
    evaluate.main()
    return tmp_path


def test_an_evaluation_that_fails_at_the_card_leaves_every_report(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(evaluated / "reports")

    def broken(*_: object) -> str:
        raise KeyError("extra_trees")

    monkeypatch.setattr(card, "model_card", broken)
    with pytest.raises(KeyError, match="extra_trees"):
        evaluate.main()

    after = contents(evaluated / "reports")
    assert {"metrics.json", "model_card.md", "evaluation.json"} <= before.keys()
    assert {path: text for path, text in after.items() if path != "costs.json"} == {
        path: text for path, text in before.items() if path != "costs.json"
    }


def test_a_plot_that_is_no_longer_drawn_is_deleted(evaluated: Path) -> None:
    """The stage deletes it, because DVC keeps persistent outputs."""
    stale = evaluated / "reports" / "plots" / "of_an_older_version.png"
    stale.write_bytes(b"old")

    evaluate.main()

    assert stale.parent.exists()
    assert not stale.exists()
