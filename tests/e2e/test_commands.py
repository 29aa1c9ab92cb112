"""The README's commands in a copy of the project, on the real data: the claim on the first line of this project."""

import json
import re
import sqlite3
import subprocess
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from pipelines.operations import local_server
from tests.project import VENV, Project
from tests.service import MORNING

pytestmark = pytest.mark.usefixtures("trained")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def trained(project: Project) -> str:
    """What the first `make train` prints. Any number of threads fits the same models; one costs the least CPU."""
    return project.make("train", "OMP_NUM_THREADS=1")


def test_make_train_runs_every_stage_and_publishes_a_release(trained: str, project: Project) -> None:
    # Not `explore`: all its outputs are in git, so it runs only where its inputs are others than the committed ones.
    for stage in ("ingest", "validate", "features", "smoke_test", "train", "evaluate", "gate", "materialise"):
        assert re.search(rf"^{stage}: ", trained, re.MULTILINE), stage
    assert "promote: release 1 (lightgbm) is live" in trained
    assert trained.splitlines()[-1].startswith("train: next: ")
    assert project.json("releases/current.json")["version"] == "1"


def test_every_output_is_reproduced_or_named(trained: str, project: Project) -> None:
    """Byte for byte on a machine like ours; elsewhere the line names the outputs that differ, and the run continues."""
    committed = subprocess.run(["git", "diff", "--quiet", "dvc.lock"], cwd=project.folder).returncode == 0

    same = re.search(r"^reproduced: all \d+ outputs match the committed dvc.lock byte for byte", trained, re.MULTILINE)
    differing = re.search(r"^reproduced: \d+ of \d+ outputs; these differ: \S+", trained, re.MULTILINE)
    assert bool(same) != bool(differing)
    assert bool(same) == committed


def test_the_scores_are_those_that_were_measured_beforehand(project: Project) -> None:
    metrics = project.json("reports/metrics.json")
    test = {name: both["test"] for name, both in metrics["candidates"].items()}

    assert metrics["best"] == "lightgbm"
    assert 0.765 <= test["lightgbm"]["auc"] <= 0.785
    assert test["lightgbm"]["log_loss"] <= 0.470
    order = ["constant", "rate_table", "logistic", "lightgbm"]
    assert sorted(order, key=lambda name: -test[name]["log_loss"]) == order
    assert test["constant"]["log_loss"] == pytest.approx(0.571, abs=0.001)
    assert test["rate_table"]["auc"] == pytest.approx(0.620, abs=0.002)
    assert test["hist_gradient_boosting"]["auc"] == pytest.approx(0.776, abs=0.01)
    assert project.json("reports/evaluation.json")["entities"]["test"] == 53_991


def test_a_flight_that_was_not_materialised_is_answered_better_than_by_a_constant(project: Project) -> None:
    constant = project.json("reports/metrics.json")["candidates"]["constant"]["test"]

    alone = project.json("reports/evaluation.json")["request_only"]

    assert alone["log_loss"] < constant["log_loss"]
    assert alone["auc"] > 0.6


def test_the_interval_by_days_is_as_wide_as_it_must_be(project: Project) -> None:
    """A standard error of about 0.011; over single flights it would be 0.0025."""
    low, high = project.json("reports/evaluation.json")["intervals"]["lightgbm"]["auc"]

    assert 3 * 0.0025 * 2 < high - low < 0.06


def test_what_differs_from_run_to_run_is_kept_apart(project: Project) -> None:
    costs = project.json("reports/costs.json")

    assert set(costs) == set(project.json("reports/metrics.json")["candidates"])
    assert all({"fit_seconds", "predict_us_per_row", "size_bytes"} == set(figures) for figures in costs.values())
    assert "reports/costs.json" not in (project.folder / "dvc.lock").read_text()


def test_the_decision_and_the_features_are_in_the_database(project: Project) -> None:
    with sqlite3.connect(project.folder / "var/ontime.db") as connection:
        decisions = connection.execute("SELECT kind, verdict FROM decisions ORDER BY decision_id").fetchall()
        (materialised,) = connection.execute("SELECT count(*) FROM features").fetchone()
        (listed,) = connection.execute("SELECT count(*) FROM entities").fetchone()
        (outcomes,) = connection.execute("SELECT count(*) FROM outcomes").fetchone()

    assert decisions == [("gate", "promote"), ("promotion", "published")]
    assert materialised == listed == 55_403
    assert outcomes == 53_991


def test_the_history_is_in_mlflow_with_its_lineage(project: Project) -> None:
    with sqlite3.connect(project.folder / "var/mlflow.db") as connection:
        runs = connection.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'").fetchone()
        aliases = connection.execute("SELECT alias, version FROM registered_model_aliases").fetchall()
        tags = dict(connection.execute("SELECT key, value FROM tags GROUP BY key"))

    assert runs == (5,)
    assert aliases == [("champion", 1)]
    assert len(tags["git_commit"].removesuffix("-dirty")) == 40
    assert re.fullmatch(r"[0-9a-f]{32}\.dir", tags["dvc.models"])


def test_a_second_make_train_runs_nothing(project: Project) -> None:
    again = project.make("train")

    assert again.count("didn't change, skipping") == 7
    assert "Running stage" not in again
    assert "promote: no change: release 1 of this training is live" in again


def test_the_gate_does_not_promote_the_champion_over_itself(project: Project) -> None:
    """Without the log of decisions, the gate decides again: the same version against the release."""
    (project.folder / "var/ontime.db").unlink()

    again = project.make("train")

    assert "gate: reject version 1 against release 1" in again
    assert "materialise: 55,403 flights" in again
    assert project.json("releases/current.json")["version"] == "1"


def test_dvc_push_has_put_every_output_into_the_remote(project: Project) -> None:
    dvc = [str(VENV / "bin/dvc"), "status", "--cloud"]

    completed = subprocess.run(
        dvc, cwd=project.folder, env=project.environment(), capture_output=True, text=True, check=True
    )

    assert "Cache and remote 'local' are in sync." in completed.stdout


def test_make_serve_answers_for_a_real_flight_of_november(project: Project, tmp_path: Path) -> None:
    port, log = local_server.free_port(), tmp_path / "serve.log"
    variables = project.environment(ONTIME_PORT=str(port))
    process = local_server.start(project.command("serve"), log, variables, project.folder)
    try:
        local_server.wait_until_ready(
            process, "make serve", lambda: local_server.responds(port, "/health/ready"), 60, log.read_text
        )
        with urlopen(Request(f"http://127.0.0.1:{port}/v1/predictions", json.dumps(MORNING).encode())) as response:
            answer = json.load(response)
    finally:
        local_server.stop([process], 30)

    assert (answer["features"], answer["flags"], answer["model_version"]) == ("online", [], "1")
    assert answer["features_as_of"] == "2013-11-05T08:15:00Z"
    assert "performance: 1 flights scored" in project.make("performance")
    assert "2013-11-05" in project.json("var/performance.json")["days"]
