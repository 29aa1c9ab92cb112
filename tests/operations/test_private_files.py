"""No other user can read what production leaves in var/, and every user can read a release."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from pydantic import SecretStr

from monitoring import drift
from ontime import database, files, registry, release, release_pointer
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.settings import Settings
from pipelines.operations import arrivals, local_server, materialise, monitor
from pipelines.tools import backup
from serving import keys
from serving.spool import Spool
from tests import synthetic
from tests.modes import mode, open_to_others
from tests.production import SUNDAY, simulate_day
from tests.small_world import Small

pytestmark = pytest.mark.slow

FEATURES = ("temp_f",)  # Evidently takes a third of a second for each


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """The default of most systems: without our care, every user could read every file."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def project(tmp_path: Path, small: Small) -> Settings:
    """Settings in a folder that every user can enter, with a published release. There is no var/ yet."""
    folder = tmp_path / "project"
    folder.mkdir(mode=0o755)
    var = folder / "var"
    settings = Settings(
        releases=folder / "releases",
        database_url=f"sqlite:///{var}/ontime.db",
        tracking_url=f"sqlite:///{var}/mlflow.db",
        artifacts=var / "mlflow-artifacts",
        evidently=var / "evidently",
        quarantine=var / "quarantine",
        spool=var / "spool",
        ui_links=var / "ui/links.json",
        workspace=var / "retraining",
    )
    release.publish(settings.releases, small.contents, small.manifest("1"))
    release_pointer.set_live(settings.releases, "1")
    return settings


def record(settings: Settings, small: Small, report: Path) -> None:
    """Record a training in MLflow, with a report that every user can read."""
    report.write_text("accuracy")
    client = registry.tracking_client(settings.tracking_url, settings.artifacts)
    run = registry.Run("lightgbm", {"trees": 10}, {"auc": 0.7}, {"git_commit": "abc"}, "One candidate.")
    ids = registry.record_runs(client, "pipeline", [run], [report])
    registry.register(client, "pipeline", ids["lightgbm"], small.contents[release.MODEL], "Predicts arriving late.")


def test_no_other_user_can_read_what_production_leaves_in_var(
    project: Settings, small: Small, weeks: pd.DataFrame, tables: Tables, params: Params, tmp_path: Path
) -> None:
    var = project.spool.parent

    record(project, small, tmp_path / "project/report.md")
    engine = database.connect(project.database_url)
    simulate_day(project, engine, weeks, tables, SUNDAY)
    monitor.run(project, params, SUNDAY)
    flights = synthetic.flights(300, 1, FEATURES)
    reports = drift.build_reports(flights, flights, params.cost.alert_threshold, "a day", FEATURES)
    reports.save(project.evidently, "ontime", midnight(SUNDAY), "1")
    broken = arrivals.Batch("weather", SUNDAY, ("weather.temp_f: 2 rows: too hot",), tables["weather"].head(2))
    materialise.quarantine(project, engine, (broken,), midnight(SUNDAY + timedelta(days=1)))
    spool = Spool(project.spool)
    spool.append([{"prediction_id": "1"}])
    keys.add(var / "keys.json", "desk", ["predict"])
    files.write_text(project.ui_links, "{}")
    server = local_server.start(["bash", "-c", f"echo started; touch {var}/ui/state"], var / "ui/mlflow.log", {})
    server.wait()
    backup.make(project.model_copy(update={"backup": backup_parts(project)}), var / "backups/first")

    created = {path.relative_to(var).parts[0] for path in var.rglob("*")}
    assert created >= {
        "ontime.db", "ontime.db-wal", "mlflow.db", "mlflow-artifacts", "evidently", "quarantine", "spool", "keys.json",
        "ui", "backups",
    }  # fmt: skip
    assert open_to_others(var) == {}


def backup_parts(settings: Settings) -> dict[str, SecretStr]:
    return {name: SecretStr(url) for name, url in backup.parts_of(settings).items() if name != "dvc"}


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_every_user_can_read_a_release(umask: int, small: Small, tmp_path: Path) -> None:
    """A service may run as another user than the pipelines, such as in a container."""
    os.umask(umask)
    releases = tmp_path / "releases"

    release.publish(releases, small.contents, small.manifest("1"))
    release_pointer.set_live(releases, "1")

    folders = [mode(path) for path in (releases, releases / "1")]
    served = [mode(path) for path in (releases / "current.json", *(releases / "1").iterdir())]
    assert (set(folders), set(served)) == ({0o755}, {0o644})
