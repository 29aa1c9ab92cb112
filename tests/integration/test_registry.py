"""What MLflow keeps of a version is enough to build it again."""

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from sklearn.linear_model import LogisticRegression

from ontime import export, registry, release, schema

WIDTH = len(schema.FEATURE_NAMES)
MATRIX = np.random.default_rng(2013).normal(size=(50, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def onnx() -> bytes:
    return export.to_onnx("logistic", LogisticRegression().fit(MATRIX, MATRIX[:, 0] > 0))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, onnx: bytes) -> MlflowClient:
    """Version 1 with all that it was made from, version 2 without."""
    folder = tmp_path_factory.mktemp("mlflow")
    connected = registry.connect(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")
    made_from = (folder / "params.yaml", folder / "dvc.lock")
    for path in made_from:
        path.write_text(f"the text of {path.name}")
    for pipeline, reports in (("first", made_from), ("second", ())):
        run = registry.Run("logistic", {}, {}, {"git_commit": "abc"})
        ids = registry.record(connected, pipeline, [run], reports)
        registry.register(connected, pipeline, ids["logistic"], onnx)
    return connected


def test_what_was_recorded_comes_back(client: MlflowClient, onnx: bytes) -> None:
    origin = registry.origin(client, "1")

    assert (origin.git_commit, origin.pipeline) == ("abc", "first")
    assert (origin.params_yaml, origin.dvc_lock) == ("the text of params.yaml", "the text of dvc.lock")
    assert (release.Model(origin.onnx).predict(MATRIX) == release.Model(onnx).predict(MATRIX)).all()


def test_an_unknown_version_is_refused_with_those_there_are(client: MlflowClient) -> None:
    with pytest.raises(registry.NotRecorded, match=r"^version 7 is not registered; registered are 1, 2$"):
        registry.origin(client, "7")


def test_a_version_that_kept_no_parameters_is_refused(client: MlflowClient) -> None:
    with pytest.raises(registry.NotRecorded, match=r"version 2 was registered without its params\.yaml"):
        registry.origin(client, "2")
