"""A small production in June 2013: a model of winter answers for two weeks, and is watched.

Real data and the real code throughout; only the clock, the folder and the size of the model are the test's own.
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
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.problem import PROBLEM
from ontime.settings import Settings
from pipelines.operations import materialise, monitor, packaging
from pipelines.operations.packaging import Winner
from serving.app import create_app

WINTER = {"train_from": date(2013, 1, 1), "valid_from": date(2013, 3, 1), "test_from": date(2013, 3, 2),
          "test_until": date(2013, 4, 1)}  # fmt: skip
TREES = 40
EVERY = 2  # of the training's flights, one in so many
FIRST, FRIDAY, SATURDAY, SUNDAY = date(2013, 5, 25), date(2013, 6, 7), date(2013, 6, 8), date(2013, 6, 9)
LIST_FLIGHTS = 1000  # of one request: the most that the service takes


class Model(NamedTuple):
    """A fitted model with the files of its release, and the flights of March that it is measured by."""

    winner: Winner
    contents: dict[str, bytes]
    params: Params  # with winter's split

    def publish(self, releases: Path, version: str, **changed: Any) -> None:
        """`changed`: what the manifest says otherwise."""
        told = packaging.manifest(self.winner, version, "none", "unknown", {}, self.params, self.contents)
        release.publish(releases, self.contents, told.model_copy(update=changed))


def labelled(tables: Tables, start: date, until: date, params: Params) -> pd.DataFrame:
    """Features and labels of the flights scheduled in [start, until) in New York."""
    built = features.build(tables, midnight(start), midnight(until), params.features, params.question)
    return split.labelled(features.with_label(built, tables["flights"], params.label.at_least))


def fit(train: pd.DataFrame, test: pd.DataFrame, timetable: pd.DataFrame, params: Params, trees: int) -> Model:
    """LightGBM and the table of rates, as the stages `train` and `evaluate` leave them."""
    few = params.train.changed("lightgbm", n_estimators=trees)
    categories, late = model.categories_of(train), train["label"].to_numpy(bool)
    plain = model.matrix_of(train, categories)
    matrix, labels = model.with_request_only(plain, late, few.request_only_share, few.seed)
    fitted = {name: model.fit(name, matrix, labels, few) for name in (model.BASELINE, "lightgbm")}
    asked = model.matrix_of(test, categories)
    told = {name: model.predict(each, asked) for name, each in fitted.items()}
    training = {"champion": "lightgbm", "base_rate": round(float(late.mean()), 4), "categories": categories}
    onnx = export.to_onnx("lightgbm", fitted["lightgbm"])
    predictions = test[["entity_id", "day", "label"]].assign(**told)
    explainer = packaging.explainer_of("lightgbm", fitted["lightgbm"], categories, test)
    trained_on = np.sort(split.row_keys(train["entity_id"]))
    winner = Winner("lightgbm", fitted["lightgbm"], onnx, training, test, predictions, explainer, trained_on)
    contents = packaging.files_of(explainer, onnx, categories, test, timetable)
    return Model(winner, {**contents, release.TRAINED_ON: trained_on.tobytes()}, params)


@dataclass(frozen=True)
class Seen:
    """What the monitor said of a day, and what the policy made of it."""

    verdict: str
    figures: Mapping[str, float | None]
    alerts: Mapping[str, Alert]
    decision: Decision

    def report(self, name: str) -> str:
        """An alert without its value, whose last digits are another processor's business."""
        alert = self.alerts[name]
        return f"{name} above {alert.above:g} (tier {alert.tier}); the policy says: {self.decision.action}"


class World:
    """Its own folder with releases and a database, and the feed that it is given."""

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
        """What the quarters of an hour of a day store."""
        return materialise.run(self.settings, params or self.params, midnight(day + timedelta(days=1)), self.feed)

    def service(self) -> TestClient:
        return TestClient(create_app(self.settings))

    def requests(self, first: date, last: date) -> list[dict[str, Any]]:
        """What a caller would ask of the flights of these days."""
        flights = online_store.entities_between(self.engine, midnight(first), midnight(last + timedelta(days=1)))
        return [_request(each) for each in flights]

    def ask(self, first: date, last: date) -> list[dict[str, Any]]:
        """The service's answers for every flight of these days."""
        bodies = self.requests(first, last)
        answers: list[dict[str, Any]] = []
        with self.service() as client:
            for start in range(0, len(bodies), LIST_FLIGHTS):
                answer = client.post("/v1/predictions", json=bodies[start : start + LIST_FLIGHTS])
                assert answer.status_code == 200, answer.text
                answers += answer.json()
        return answers

    def look(self, day: date) -> Seen:
        """What the monitor makes of a day, and the policy of that."""
        decision = monitor.run(self.settings, self.params, day)
        row = database.last_decision(self.engine, "monitor", day=str(day))
        assert row is not None
        alerts = {each["name"]: Alert(**{**each, "tier": Tier(each["tier"])}) for each in row.evidence["alerts"]}
        return Seen(row.verdict, row.evidence[monitor.FIGURES], alerts, decision)

    def live(self, day: date) -> Seen:
        """A whole day: its features, its questions, and what is seen of it in the evening."""
        self.materialise(day)
        self.ask(day, day)
        return self.look(day)

    def challenge(self, version: str, since: date) -> None:
        """A release that the gate let through has been in the shadow since that day, and has scored every flight."""
        release_pointer.set_challenger(self.settings.releases, version)
        database.record_decision(self.engine, "gate", "promote", {"version": version}, midnight(since))
        database.record_decision(self.engine, "challenge", "share 0", {"version": version}, midnight(since))
        self._ask_both(since)

    def crown(self, version: str, since: date) -> None:
        """A release has answered since that day, watched beside the one before it."""
        release_pointer.set_live(self.settings.releases, version, watched=True)
        database.record_decision(self.engine, "promotion", "published", {"version": version}, midnight(since))
        self._ask_both(since)

    def _ask_both(self, since: date) -> None:
        newest = database.newest_prediction(self.engine)
        asked = len(self.ask(since, FRIDAY))
        assert database.count_shadows(self.engine, newest) == asked  # the service ends when they are written

    def judge_trial(self, day: date) -> Decision:
        """What the policy makes of champion and challenger alone, without carrying it out."""
        pointer = release_pointer.read_pointer(self.settings.releases)
        assert pointer is not None
        context = DayContext(self.settings, self.params, self.engine, day, midnight(day + timedelta(days=1)))
        return choose_action(monitor.observe(context, pointer, ()), self.params.policy)

    def forget(self, since: date) -> None:
        """The monitor has not looked at these days yet."""
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
    told = {name: flight._mapping[name] for name in PROBLEM.request.model_fields}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in told.items()}
