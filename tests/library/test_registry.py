"""What MLflow keeps of a version is enough to build it again."""

import os
import shutil
import sqlite3
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from sklearn.linear_model import LogisticRegression

from ontime import export, locations, registry, release, schema

pytestmark = pytest.mark.slow

WIDTH = len(schema.FEATURE_NAMES)
MATRIX = np.random.default_rng(2013).normal(size=(50, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def onnx() -> bytes:
    return export.to_onnx("logistic", LogisticRegression().fit(MATRIX, MATRIX[:, 0] > 0))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, onnx: bytes) -> MlflowClient:
    """Version 1 with all that it was made from, version 2 without."""
    folder = tmp_path_factory.mktemp("mlflow")
    connected = registry.tracking_client(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")
    made_from = (folder / "params.yaml", folder / "dvc.lock")
    for path in made_from:
        path.write_text(f"the text of {path.name}")
    for pipeline, reports in (("first", made_from), ("second", ())):
        run = registry.Run("logistic", {}, {}, {"git_commit": "abc"}, "One candidate.")
        ids = registry.record_runs(connected, pipeline, [run], reports)
        registry.register(connected, pipeline, ids["logistic"], onnx, "Predicts arriving late.")
    return connected


def test_what_was_recorded_comes_back(client: MlflowClient, onnx: bytes) -> None:
    origin = registry.origin(client, "1")

    assert (origin.git_commit, origin.pipeline) == ("abc", "first")
    assert (origin.params_yaml, origin.dvc_lock) == ("the text of params.yaml", "the text of dvc.lock")
    assert (release.Model(origin.onnx).predict(MATRIX) == release.Model(onnx).predict(MATRIX)).all()


def test_a_server_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    with pytest.raises(registry.NotRecorded, match=r"^MLflow cannot be reached: API request to"):
        registry.tracking_client("http://127.0.0.1:9", tmp_path)


def test_an_unknown_version_is_refused_with_those_there_are(client: MlflowClient) -> None:
    with pytest.raises(registry.NotRecorded, match=r"^version 7 is not registered; registered are 1, 2$"):
        registry.origin(client, "7")


def test_a_version_that_kept_no_parameters_is_refused(client: MlflowClient) -> None:
    with pytest.raises(registry.NotRecorded, match=r"version 2 was registered without its params\.yaml"):
        registry.origin(client, "2")


def digests(folder: Path) -> dict[Path, str]:
    return {path: sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def locations_in(folder: Path) -> set[str]:
    """Every place that MLflow's database names."""
    with sqlite3.connect(folder / "mlflow.db") as connection:
        return {
            str(location)
            for table, column in (("experiments", "artifact_location"), *locations.COLUMNS)
            for (location,) in connection.execute(f"SELECT {column} FROM {table}")  # noqa: S608  the module's
        }


@pytest.fixture
def world(tmp_path: Path, onnx: bytes) -> Path:
    """A folder with one registered version."""
    folder = tmp_path / "it's 100% \u00fcber #1"
    made_from = (folder / "params.yaml", folder / "dvc.lock")
    folder.mkdir()
    for path in made_from:
        path.write_text(path.name)
    register(folder, "first", made_from, onnx)
    return folder


def connect(folder: Path) -> MlflowClient:
    return registry.tracking_client(f"sqlite:///{os.path.relpath(folder)}/mlflow.db", folder / "artifacts")


def register(folder: Path, pipeline: str, made_from: tuple[Path, ...], onnx: bytes) -> None:
    client = connect(folder)
    ids = registry.record_runs(
        client, pipeline, [registry.Run("logistic", {}, {}, {"git_commit": "abc"}, "one")], made_from
    )
    registry.register(client, pipeline, ids["logistic"], onnx, "one")


def test_a_moved_version_is_found_where_the_folder_is_now(world: Path) -> None:
    moved = world.rename(world.with_name("moved here"))

    origin = registry.origin(connect(moved), "1")

    assert (origin.params_yaml, origin.dvc_lock) == ("params.yaml", "dvc.lock")
    assert all(location.startswith(moved.as_uri()) for location in locations_in(moved))


def test_a_copy_registers_into_itself_and_leaves_the_original_alone(world: Path, tmp_path: Path, onnx: bytes) -> None:
    copied, before = Path(shutil.copytree(world, tmp_path / "copy")), digests(world)

    register(copied, "second", (copied / "params.yaml",), onnx)

    assert digests(world) == before
    assert all(location.startswith(copied.as_uri()) for location in locations_in(copied))
    assert registry.origin(connect(copied), "1").params_yaml == "params.yaml"


def test_what_lies_only_elsewhere_is_still_looked_for_there(world: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"

    registry.tracking_client(f"sqlite:///{os.path.relpath(world)}/mlflow.db", elsewhere)

    kept = {location for location in locations_in(world) if location.startswith(f"{world.as_uri()}/artifacts/")}
    assert len(kept) == 2
    assert locations_in(world) - kept == {elsewhere.as_uri(), f"{elsewhere.as_uri()}/0"}


@pytest.mark.parametrize("address", ["https://mlflow.example", "postgresql://mlflow.example/mlflow"])
def test_a_server_keeps_its_own_locations(address: str, tmp_path: Path) -> None:
    locations.relocate(address, tmp_path)

    assert list(tmp_path.iterdir()) == []
