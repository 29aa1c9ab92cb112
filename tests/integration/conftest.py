"""A small world for the service: a real release of a model fitted on three weeks, a database, an online store."""

from collections.abc import Iterator
from datetime import date
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from ontime import database, export, model, release, schema, split
from ontime.params import Params
from ontime.release import Lineage, Manifest
from ontime.settings import Settings
from pipelines.materialise import materialise
from serving.app import create_app

STORED_FROM = "2013-02-18"


@pytest.fixture(scope="session")
def small_model(weeks: pd.DataFrame, params: Params) -> tuple[bytes, dict[str, tuple[str, ...]]]:
    """A LightGBM of ten trees as ONNX, and its categories."""
    known = split.labelled(weeks[weeks["day"] < STORED_FROM])
    categories = model.categories_of(known)
    few = params.train.model_copy(update={"lightgbm": params.train.lightgbm.model_copy(update={"n_estimators": 10})})
    fitted = model.fit("lightgbm", model.matrix_of(known, categories), known["late"].to_numpy(), few)
    return export.to_onnx(fitted), categories


def manifest_of(small_model: tuple[bytes, dict[str, tuple[str, ...]]], version: str = "1") -> Manifest:
    content, categories = small_model
    return Manifest(
        name="ontime",
        version=version,
        algorithm="lightgbm",
        features=schema.FEATURE_NAMES,
        categories=categories,
        threshold=0.25,
        usual_rate=0.24,
        lead_minutes=120,
        trained_from=date(2013, 2, 4),
        trained_until=date(2013, 2, 18),
        lineage=Lineage(git_commit="unknown", mlflow_run="none", dvc_lock={}),
        sha256={release.MODEL: sha256(content).hexdigest()},
    )


@pytest.fixture
def settings(small_model: tuple[bytes, dict[str, tuple[str, ...]]], tmp_path: Path) -> Settings:
    """Release 1 is published and current; the database is a file that does not exist yet."""
    releases = tmp_path / "releases"
    release.publish(releases, small_model[0], manifest_of(small_model))
    release.point(releases, "1")
    return Settings(releases=releases, database_url=f"sqlite:///{tmp_path}/ontime.db")


@pytest.fixture
def stored(settings: Settings, weeks: pd.DataFrame) -> pd.DataFrame:
    """The flights of two days, materialised."""
    rows = weeks[(weeks["day"] >= STORED_FROM) & (weeks["day"] < "2013-02-20")].reset_index(drop=True)
    materialise(database.connect(settings.database_url.get_secret_value()), rows)
    return rows


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    # A server error must reach the test as an answer, as it would reach a caller.
    with TestClient(create_app(settings), raise_server_exceptions=False) as opened:
        yield opened
