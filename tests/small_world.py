"""A small world for the service: a real release of a model fitted on two weeks, a database, an online store."""

from collections.abc import Callable, Iterator
from datetime import date
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from ontime import database, export, model, release, release_pointer, schema, split
from ontime.datasets import Tables
from ontime.declaration import Names, Question
from ontime.params import Params
from ontime.problem import PROBLEM
from ontime.problem.data import DATA
from ontime.release import Lineage, Manifest
from ontime.settings import Settings
from pipelines.operations import packaging
from pipelines.operations.materialise import materialise_rows, outcomes_of
from serving.app import create_app
from tests import postgres
from tests.conftest import weeks_of

QUESTION = Question(label_at_least=15, lead_minutes=120)
STORED_FROM = "2013-02-18"

Publish = Callable[[Path, str], None]


class Small(NamedTuple):
    """The files of a release, and the categories of its model."""

    contents: dict[str, bytes]
    categories: dict[str, tuple[str, ...]]
    label: pd.Series
    probability: pd.Series
    question: Question = Question(label_at_least=15, lead_minutes=120)
    names: Names = MappingProxyType({})

    def manifest(self, version: str) -> Manifest:
        period = split.Period(date(2013, 2, 18), date(2013, 2, 25))
        return Manifest(
            problem=PROBLEM.name,
            name="ontime",
            version=version,
            algorithm="lightgbm",
            features=schema.FEATURE_NAMES,
            categories=self.categories,
            threshold=0.25,
            base_rate=0.24,
            label_at_least=self.question.label_at_least,
            lead_minutes=self.question.lead_minutes,
            names={field: dict(display_names) for field, display_names in self.names.items()},
            trained_from=date(2013, 2, 4),
            trained_until=date(2013, 2, 18),
            track_record=packaging.track_record(self.label.to_numpy(), self.probability.to_numpy(), 0.25, period),
            lineage=Lineage(git_commit="unknown", mlflow_run="none", dvc_lock={}),
            sha256={name: sha256(content).hexdigest() for name, content in self.contents.items()},
        )


def _small(weeks: pd.DataFrame, tables: Tables, params: Params, trees: int) -> Small:
    labelled = split.labelled(weeks)
    before, after = labelled[labelled["day"] < STORED_FROM], labelled[labelled["day"] >= STORED_FROM]
    categories = model.categories_of(before)
    few = params.train.changed("lightgbm", n_estimators=trees)
    fitted = model.fit("lightgbm", model.matrix_of(before, categories), before["label"].to_numpy(), few)
    timetable = tables["flights"].set_index("entity_id", drop=False)
    explainer = packaging.explainer_of("lightgbm", fitted, categories, after)
    contents = packaging.files_of(explainer, export.to_onnx("lightgbm", fitted), categories, after, timetable)
    probability = pd.Series(model.predict(fitted, model.matrix_of(after, categories)))
    return Small(contents, categories, after["label"], probability, params.question, DATA.names(tables))


@pytest.fixture(scope="session")
def other_params(params: Params) -> Params:
    """Another question: 30 minutes late or more, predicted three hours ahead."""
    label = params.label.model_copy(update={"at_least": 30})
    features = params.features.model_copy(update={"lead_minutes": 180})
    return params.model_copy(update={"label": label, "features": features})


@pytest.fixture(scope="session")
def other_weeks(tables: Tables, other_params: Params) -> pd.DataFrame:
    """The weeks of the other question."""
    return weeks_of(tables, other_params)


@pytest.fixture(scope="session")
def other_question(other_weeks: pd.DataFrame, tables: Tables, other_params: Params) -> Small:
    """A LightGBM of ten trees for the other question."""
    return _small(other_weeks, tables, other_params, 10)


@pytest.fixture(scope="session")
def small(weeks: pd.DataFrame, tables: Tables, params: Params) -> Small:
    """A LightGBM of ten trees."""
    return _small(weeks, tables, params, 10)


@pytest.fixture(scope="session")
def other(weeks: pd.DataFrame, tables: Tables, params: Params) -> Small:
    """A LightGBM of three trees, with other predictions."""
    return _small(weeks, tables, params, 3)


def published(folder: Path, small: Small, other: Small) -> Settings:
    """Release 1 is published and current, release 2 published; the database is a file that does not exist yet."""
    releases = folder / "releases"
    release.publish(releases, small.contents, small.manifest("1"))
    release.publish(releases, other.contents, other.manifest("2"))
    release_pointer.set_live(releases, "1")
    return Settings(
        releases=releases,
        database_url=f"sqlite:///{folder}/ontime.db",
        spool=folder / "spool",
        tracking_url=f"sqlite:///{folder}/mlflow.db",
        artifacts=folder / "artifacts",
        ui_links=folder / "links.json",
    )


@pytest.fixture
def settings(small: Small, other: Small, tmp_path: Path) -> Settings:
    return published(tmp_path, small, other)


def store(settings: Settings, weeks: pd.DataFrame, tables: Tables, question: Question = QUESTION) -> pd.DataFrame:
    """The flights of two days, materialised, with their outcomes."""
    rows = weeks[(weeks["day"] >= STORED_FROM) & (weeks["day"] < "2013-02-20")].reset_index(drop=True)
    engine = database.connect(settings.database_url)
    timetable = tables["flights"].set_index("entity_id", drop=False)
    materialise_rows(engine, question, rows, timetable)
    database.store_outcomes(engine, outcomes_of(timetable.loc[rows["entity_id"]], question.label_at_least))
    return rows


@pytest.fixture
def stored(settings: Settings, weeks: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    return store(settings, weeks, tables)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    # A server error must reach the test as an answer, as it would reach a caller.
    with TestClient(create_app(settings), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture(params=postgres.DATABASES)
def on_both(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """The small world on each of the two databases."""
    if request.param == "sqlite":
        return settings
    server: postgres.Server = request.getfixturevalue("postgres_server")
    return settings.model_copy(update={"database_url": type(settings.database_url)(server.new_database())})
