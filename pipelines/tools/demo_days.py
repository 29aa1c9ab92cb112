"""Plays days of the demo: features, requests, outcomes, the monitor, and the policy's decision of each day."""

import time
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa

from monitoring import alerts
from monitoring.alerts import Alert, Metrics
from monitoring.policy import Decision
from ontime import database, database_tables, release_pointer, sources
from ontime.datasets import Tables
from ontime.params import Params
from ontime.problem.data import DATA
from pipelines.operations import monitor
from pipelines.tools.simulated_production import SimulatedProduction

FIRST_ROWS, FIRST_DAYS = 30_000, 49  # train the first model: as many days as have so many rows, and at least these
FIRST_SHARE = 2 / 3  # ... and at most this share of the dataset's days
PLAYED_DAYS = 21  # at most, after these


class DayResult(NamedTuple):
    """What a day has led to. `live`: the release that served it."""

    day: date
    live: str
    predictions: int
    seconds: float  # of the requests
    figures: Metrics
    alerts: tuple[Alert, ...]
    decision: Decision


def first_day_of_service(params: Params, tables: Tables) -> date | None:
    """The day after the first model's data; None if the dataset is too short."""
    dataset = sources.dataset(params.dataset)
    per_day = sources.days_of(tables[DATA.entities][DATA.event_at]).value_counts().sort_index()
    enough = per_day.cumsum() >= FIRST_ROWS
    by_rows = pd.Timestamp(enough.index[enough][0]).date() if enough.any() else dataset.last_day
    days = (dataset.last_day - dataset.first_day).days + 1
    at_most = dataset.first_day + timedelta(days=int(FIRST_SHARE * days))
    start = min(max(by_rows, dataset.first_day + timedelta(days=FIRST_DAYS)), at_most)
    needed = params.retrain.train_days + params.retrain.valid_days + params.retrain.test_days
    if (start - dataset.first_day).days < needed or (dataset.last_day - start).days < PLAYED_DAYS:
        return None
    return start


def play(production: SimulatedProduction, day: date) -> DayResult:
    """A whole day, from its features to the decision that the policy carries out."""
    pointer = release_pointer.require_pointer(production.settings.releases)
    production.materialise(day)
    before, started = count_predictions(production.engine), time.monotonic()
    production.predict(day)
    seconds, predictions = time.monotonic() - started, count_predictions(production.engine) - before
    decision = monitor.run(production.settings, production.params, day)
    evidence = monitored(production.engine, day)
    raised = alerts.from_json(evidence["alerts"])
    return DayResult(day, pointer.version, predictions, seconds, evidence[monitor.FIGURES], raised, decision)


def monitored(engine: sa.Engine, day: date) -> Mapping[str, Any]:
    """The evidence that the monitor has recorded of a day."""
    row = database.last_decision(engine, "monitor", day=str(day))
    assert row is not None  # noqa: S101  monitor.run writes it
    return row.evidence


def count_predictions(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(database_tables.predictions)).scalar_one())
