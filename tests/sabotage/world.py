"""A small production in June 2013: a model of winter serves traffic for two weeks, and is monitored.

Real data and real code throughout; only the clock, the folder and the size of the model belong to the tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sqlalchemy as sa
from fastapi.testclient import TestClient

from monitoring.alerts import Alert, Tier
from monitoring.daily_metrics import DayContext
from monitoring.policy import Decision, choose_action
from ontime import (
    database,
    database_tables,
    export,
    features,
    model,
    online_store,
    release,
    release_pointer,
    sources,
    split,
)
from ontime.batches import Batches
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.problem import PROBLEM
from ontime.settings import Settings
from pipelines.operations import materialise, monitor, packaging
from pipelines.operations.packaging import BestModel
from serving.app import create_app

WINTER = {"train_from": date(2013, 1, 1), "valid_from": date(2013, 3, 1), "test_from": date(2013, 3, 2),
          "test_until": date(2013, 4, 1)}  # fmt: skip
TREES = 40
EVERY = 2  # trains on every second flight
FIRST, FRIDAY, SATURDAY, SUNDAY = date(2013, 5, 25), date(2013, 6, 7), date(2013, 6, 8), date(2013, 6, 9)
LIST_FLIGHTS = 1000  # in one request, the limit of the service


class Model(NamedTuple):
    """A fitted model with the files of its release, and the flights of March that it is evaluated on."""

    best: BestModel
    contents: dict[str, bytes]
    params: Params  # with winter's split

    def publish(self, releases: Path, version: str, **changed: Any) -> None:
        """`changed`: fields of the manifest that differ."""
        manifest = packaging.manifest(self.best, version, "none", "unknown", {}, self.params, self.contents)
        release.publish(releases, self.contents, manifest.model_copy(update=changed))


def labelled(tables: Tables, start: date, until: date, params: Params) -> pd.DataFrame:
    """Features and labels of the flights scheduled in [start, until) in New York."""
    built = features.build(tables, midnight(start), midnight(until), params.features, params.question)
    return split.labelled(features.with_label(built, tables["flights"], params.label.at_least))


def fit(train: pd.DataFrame, test: pd.DataFrame, timetable: pd.DataFrame, params: Params, trees: int) -> Model:
    """LightGBM and the rate table, as the stages `train` and `evaluate` write them."""
    few = params.train.changed("lightgbm", n_estimators=trees)
    categories, late = model.categories_of(train), train["label"].to_numpy(bool)
    plain = model.matrix_of(train, categories)
    rows, labels = model.with_request_only(Batches.of(plain), late, few.request_only_share, few.seed)
    fitted = {name: model.fit(name, rows, labels, few) for name in (model.BASELINE, "lightgbm")}
    test_matrix = model.matrix_of(test, categories)
    probabilities = {name: model.predict(each, test_matrix) for name, each in fitted.items()}
    training = {"best": "lightgbm", "base_rate": round(float(late.mean()), 4), "categories": categories}
    onnx = export.to_onnx("lightgbm", fitted["lightgbm"])
    predictions = test[["entity_id", "day", "label"]].assign(**probabilities)
    explainer = packaging.explainer_of("lightgbm", fitted["lightgbm"], categories, test)
    trained_on = np.sort(split.row_keys(train["entity_id"]))
    best = BestModel("lightgbm", fitted["lightgbm"], onnx, training, test, predictions, explainer, trained_on)
    contents = packaging.files_of(explainer, onnx, categories, test, timetable)
    return Model(best, {**contents, release.TRAINED_ON: trained_on.tobytes()}, params)


@dataclass(frozen=True)
class DayResult:
    """The monitor's result for a day, and the policy's decision."""

    verdict: str
    figures: Mapping[str, float | None]
    alerts: Mapping[str, Alert]
    decision: Decision

    def report(self, name: str) -> str:
        """An alert without its value, whose last digits differ between processors."""
        alert = self.alerts[name]
        return f"{name} above {alert.above:g} (tier {alert.tier}); policy: {self.decision.action}"


class World:
    """A folder with releases and a database, and the tables of the feed."""

    def __init__(self, folder: Path, tables: Tables, params: Params) -> None:
        self.params, self.tables = params, tables
        self.settings = Settings(
            releases=folder / "releases",
            database_url=f"sqlite:///{folder}/ontime.db",
            spool=folder / "spool",
            tracking_url=f"sqlite:///{folder}/mlflow.db",
            artifacts=folder / "artifacts",
            workspace=folder / "retraining",
            evidently=folder / "evidently",
            quarantine=folder / "quarantine",
        )
        self.engine = database.connect(self.settings.database_url)

    def feed(self, start: datetime, end: datetime) -> Tables:
        return sources.cut(self.tables, start, end)

    def materialise(self, day: date, params: Params | None = None) -> materialise.Materialised:
        """Materialise a whole day."""
        return materialise.run(self.settings, params or self.params, midnight(day + timedelta(days=1)), self.feed)

    def service(self) -> TestClient:
        return TestClient(create_app(self.settings))

    def requests(self, first: date, last: date) -> list[dict[str, Any]]:
        """The request bodies for all flights of these days."""
        flights = online_store.entities_between(self.engine, midnight(first), midnight(last + timedelta(days=1)))
        return [_request(each) for each in flights]

    def ask(self, first: date, last: date) -> list[dict[str, Any]]:
        """The service's predictions for all flights of these days."""
        bodies = self.requests(first, last)
        answers: list[dict[str, Any]] = []
        with self.service() as client:
            for start in range(0, len(bodies), LIST_FLIGHTS):
                answer = client.post("/v1/predictions", json=bodies[start : start + LIST_FLIGHTS])
                assert answer.status_code == 200, answer.text
                answers += answer.json()
        return answers

    def monitor_day(self, day: date) -> DayResult:
        """Run the monitor and the policy for a day."""
        decision = monitor.run(self.settings, self.params, day)
        row = database.last_decision(self.engine, "monitor", day=str(day))
        assert row is not None
        alerts = {each["name"]: Alert(**{**each, "tier": Tier(each["tier"])}) for each in row.evidence["alerts"]}
        return DayResult(row.verdict, row.evidence[monitor.FIGURES], alerts, decision)

    def run_day(self, day: date) -> DayResult:
        """A whole day: materialise, predict, monitor."""
        self.materialise(day)
        self.ask(day, day)
        return self.monitor_day(day)

    def challenge(self, version: str, since: date) -> None:
        """Let a release that passed the gate challenge since that day; it has scored every flight in the shadow.

        Not by pipelines.operations.transitions: each move would migrate an MLflow database, which takes seconds in each
        copy of this world, and no model is registered there. The guards read the pointer and the rows alone.
        """
        release_pointer.set_challenger(self.settings.releases, version)
        database.record_decision(self.engine, "gate", "promote", {"version": version}, midnight(since))
        database.record_decision(self.engine, "challenge", "share 0", {"version": version}, midnight(since))
        self._ask_both(since)

    def promote(self, version: str, since: date) -> None:
        """Let a release serve traffic since that day, with its predecessor as the challenger; see `challenge`."""
        release_pointer.set_live(self.settings.releases, version, watched=True)
        database.record_decision(self.engine, "promotion", "published", {"version": version}, midnight(since))
        self._ask_both(since)

    def _ask_both(self, since: date) -> None:
        newest = database.newest_prediction(self.engine)
        requests = len(self.ask(since, FRIDAY))
        assert database.count_shadows(self.engine, newest) == requests  # the service ends when they are written

    def decide_on_challenger(self, day: date) -> Decision:
        """The policy's decision on champion and challenger alone; it is not carried out."""
        pointer = release_pointer.read_pointer(self.settings.releases)
        assert pointer is not None
        context = DayContext(self.settings, self.params, self.engine, day, midnight(day + timedelta(days=1)))
        return choose_action(monitor.observe(context, pointer, ()), self.params.policy)

    def delete_monitoring(self, since: date) -> None:
        """Delete the results of monitor and policy since that day."""
        decided = database_tables.decisions.c
        kinds, day = ("monitor", "policy"), decided.evidence["day"].as_string()
        self.execute(sa.delete(database_tables.decisions).where(decided.kind.in_(kinds), day >= str(since)))

    def outcomes(self) -> list[dict[str, Any]]:
        """Every outcome, by flight."""
        with self.engine.connect() as connection:
            rows = connection.execute(
                sa.select(database_tables.outcomes).order_by(database_tables.outcomes.c.entity_id)
            )
            return [dict(row._mapping) for row in rows]

    def execute(self, statement: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(statement)


def _request(flight: sa.Row[Any]) -> dict[str, Any]:
    fields = {name: flight._mapping[name] for name in PROBLEM.request.model_fields}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()}
