"""The studies of models on the smallest problem, and a neural network that is trained, gated, released and served."""

import re
from pathlib import Path

import pytest

from tests.project import Project


def test_each_candidate_with_a_section_is_compared(tiny: Project) -> None:
    output = tiny.make("study-models", "OMP_NUM_THREADS=1")

    assert "study models: wrote reports/study_models.json" in output
    report, metrics = tiny.json("reports/study_models.json"), tiny.json("reports/metrics.json")
    rows = {row["name"]: row for row in report["rows"]}
    assert {"logistic", "lightgbm", "xgboost", "neural_network", "average", "3 seeds"} <= rows.keys()
    best = rows[report["best"]]
    assert report["best"] == metrics["best"]
    assert best["test"]["auc"] == pytest.approx(metrics["candidates"][metrics["best"]]["test"]["auc"], abs=0.02)
    assert all(row["costs"]["parity"] < 1e-5 for row in rows.values())
    assert (tiny.folder / "reports/study_models.png").exists()
    assert not (tiny.folder / "var/studies/models").exists()
    runs = tiny.python(CURVES)
    assert re.search(r"neural_network \['fitted_loss', 'held_out_loss'\] [23] models", runs), runs


def test_one_candidate_gets_the_gates_verdict_and_nothing_is_released(tiny: Project) -> None:
    best = tiny.json("models/training.json")["best"]
    name = next(each for each in ("logistic", "hist_gradient_boosting") if each != best)
    live = tiny.json("releases/current.json")

    output = tiny.python(f"from pipelines.tools import study_candidate; study_candidate.main({name!r})")

    assert f"| **{best.replace('_', ' ')}**: the best of the last training |" in output
    assert f"| **{name.replace('_', ' ')}** |" in output
    assert re.search(rf"study models: the gate (passes|rejects) {name}: \S", output)
    assert tiny.json("releases/current.json") == live
    assert not (tiny.folder / f"var/studies/models-{name}").exists()


CURVES = """
from ontime import registry
from ontime.settings import load_settings
settings = load_settings()
client = registry.tracking_client(settings.tracking_url, settings.artifacts)
experiment = client.get_experiment_by_name(registry.NAME).experiment_id
for run in client.search_runs([experiment]):
    curves = sorted(name for name in run.data.metrics if name in ("fitted_loss", "held_out_loss"))
    epochs = len(client.get_metric_history(run.info.run_id, "held_out_loss"))
    print(run.data.tags["candidate"], curves, epochs, run.data.tags.get("study"))
"""


def test_smaller_models_are_compared(tiny: Project) -> None:
    tiny.make("study-compression", "OMP_NUM_THREADS=1")

    report = tiny.json("reports/study_compression.json")
    names = [row["name"] for row in report["rows"]]
    assert names[0] == report["best"]
    assert {"30 trees", "60 trees, taught", "network, int8", "network, pruned to 64"} <= {*names}
    page = (tiny.folder / "docs/what-compression-costs.md").read_text()
    assert all(f"| **{name.replace('_', ' ')}**: " in page for name in names)


@pytest.mark.parametrize("candidate", ["neural_network", "quantised", "distilled"])
def test_a_network_and_a_small_model_are_trained_gated_released_and_served(
    candidate: str, tiny_original: Project, tmp_path: Path
) -> None:
    project = tiny_original.copied(tmp_path / "project")
    listed = "candidates: [constant, rate_table, logistic, hist_gradient_boosting, lightgbm]"
    params = project.folder / "params.yaml"
    assert listed in params.read_text()
    params.write_text(params.read_text().replace(listed, f"candidates: [rate_table, {candidate}]"))
    project.make("clean")

    output = project.make("train", "OMP_NUM_THREADS=1")

    assert f"{candidate} is best on validation" in output
    assert re.search(rf"parity: the ONNX file differs from {candidate} by at most", output)
    assert re.search(rf"release 1 \({candidate}\) is live", output)
    curves = ["fitted_loss", "held_out_loss"] if candidate == "neural_network" else []
    assert f"{candidate} {curves}" in project.python(CURVES)
    served = project.python(SERVED)
    assert re.search(rf"200 {candidate} 0\.\d+", served), served


SERVED = """
import json
from fastapi.testclient import TestClient
from ontime import release
from ontime.settings import load_settings
from serving.app import create_app
settings = load_settings()
probe = release.load(settings.releases, "1").probes[0]
with TestClient(create_app(settings)) as client:
    answer = client.post("/v1/predictions", json=json.loads(probe.entity.model_dump_json()))
    print(answer.status_code, client.get("/v1/model").json()["algorithm"], answer.json()["probability"])
"""
