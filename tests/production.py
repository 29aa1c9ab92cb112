"""Simulated production in the small world: predictions, shadows and outcomes, as service and feed write them."""

import shutil
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from ontime import database, database_tables, model, registry, release, release_pointer
from ontime.datasets import Tables
from ontime.declaration import Question
from ontime.local_time import midnight
from ontime.params import Params
from ontime.release_pointer import Pointer
from ontime.settings import Settings
from pipelines.operations import materialise, transitions
from pipelines.operations.transition_log import BY_TRAINING, MoveCause
from tests.small_world import Small, _small

# The models are trained until the 18th. Drift, which takes Evidently seconds, is measured on Sundays only.
MONDAY, TUESDAY, WEDNESDAY = (date(2013, 2, 18) + timedelta(days=number) for number in range(3))
SUNDAY = date(2013, 2, 24)


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database with versions 1 to 3 of the model; made once, because it takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    client = registry.tracking_client(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")
    client.create_registered_model(registry.NAME)
    for _ in range(3):
        client.create_model_version(registry.NAME, "file:///nowhere", run_id=None)
    return folder / "mlflow.db"


@pytest.fixture
def world(settings: Settings, mlflow_database: Path, tmp_path: Path) -> Settings:
    """The settings of the small world, with every output in the test's folder."""
    shutil.copy(mlflow_database, tmp_path / "mlflow.db")
    folders = {name: tmp_path / name for name in ("workspace", "evidently", "quarantine")}
    return settings.model_copy(update=folders)


@pytest.fixture
def engine(world: Settings) -> Iterator[sa.Engine]:
    connected = database.connect(world.database_url)
    yield connected
    connected.dispose()


@pytest.fixture(scope="session")
def inverted(weeks: pd.DataFrame, tables: Tables, params: Params) -> Small:
    """A model that was fitted on inverted labels."""
    return _small(weeks.assign(label=~weeks["label"]), tables, params, 10)


@pytest.fixture
def short_shadow(params: Params) -> Params:
    """Parameters with a shadow of three days instead of a week."""
    return params.model_copy(update={"policy": params.policy.model_copy(update={"shadow_days": 3})})


def pointer_of(settings: Settings) -> Pointer:
    pointer = release_pointer.read_pointer(settings.releases)
    assert pointer is not None
    return pointer


def verdicts(engine: sa.Engine, *kinds: str) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(database_tables.decisions).order_by(database_tables.decisions.c.decision_id)
        ).all()
    return [(row.kind, row.verdict) for row in rows if row.kind in kinds or not kinds]


def start_challenge(settings: Settings, engine: sa.Engine, version: str, day: date) -> None:
    """Start a shadow at the end of a day, as `promote candidate` does after the gate has passed a candidate."""
    now = midnight(day + timedelta(days=1))
    record_gate_pass(engine, version, now)
    transitions.challenge(settings, engine, version, 0, MoveCause(BY_TRAINING, "no worse", at=now))


def record_gate_pass(engine: sa.Engine, version: str, now: datetime) -> None:
    """Record that the gate has passed a candidate."""
    database.record_decision(engine, "gate", "promote", {"version": version, "against": "release 1"}, now)


def question_of(settings: Settings) -> Question:
    return release.verify(settings.releases / pointer_of(settings).version).question


def simulate_day(settings: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, day: date) -> None:
    """A day of production: the champion predicts every flight, the challenger scores it, and it lands."""
    rows = weeks[weeks["day"] == pd.Timestamp(day)]
    timetable = tables["flights"].set_index("entity_id", drop=False)
    materialise.materialise_rows(engine, question_of(settings), rows, timetable)
    pointer = pointer_of(settings)
    ids = log_predictions(settings, engine, rows, pointer.version)
    if pointer.challenger is not None:
        probabilities, _ = probabilities_of(settings, rows, pointer.challenger.version)
        shadows = [
            {"prediction_id": key, "model_version": pointer.challenger.version, "probability": probability}
            for key, probability in zip(ids, probabilities, strict=True)
        ]
        database.log_shadows(engine, shadows)
    database.store_outcomes(engine, materialise.outcomes_of(timetable.loc[rows["entity_id"]], 15))


def probabilities_of(settings: Settings, rows: pd.DataFrame, version: str) -> tuple[list[float], np.ndarray]:
    """A release's probabilities for the flights, and its inputs."""
    loaded = release.load(settings.releases, version)
    matrix = model.matrix_of(rows, loaded.manifest.categories)
    return loaded.model.predict(matrix).astype(float).tolist(), matrix


def log_predictions(settings: Settings, engine: sa.Engine, rows: pd.DataFrame, version: str) -> list[str]:
    probabilities, matrix = probabilities_of(settings, rows, version)
    records = [
        {
            "prediction_id": database.new_prediction_ids(1)[0],
            "entity_id": entity_id,
            "answered_at": moment.to_pydatetime(),
            "model_version": version,
            "probability": probability,
            "alert": probability >= 0.25,
            "features": "online",
            "vector": vector.astype("<f4").tobytes(),
            "latency_ms": 1.0,
        }
        for entity_id, moment, probability, vector in zip(
            rows["entity_id"], rows["moment"], probabilities, matrix, strict=True
        )
    ]
    for start in range(0, len(records), 1000):
        database.log_predictions(engine, records[start : start + 1000])
    return [str(each["prediction_id"]) for each in records]


def aliases(settings: Settings) -> dict[str, str]:
    client = registry.tracking_client(settings.tracking_url, settings.artifacts)
    return {alias: str(version) for alias, version in client.get_registered_model(registry.NAME).aliases.items()}


def record_quarantine(engine: sa.Engine, at: datetime) -> None:
    evidence = {"batch": "2013-02-18 weather", "day": "2013-02-18", "rows": 72, "reason": "pressure in inches"}
    database.record_decision(engine, "quarantine", "quarantined", evidence, at)
