"""The metrics of a day, which alert rules check: of its predictions, and of the performance in the window up to it.

Reads the tables from the database and the release; monitoring/table_metrics.py computes most metrics from them.
"""

from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa

from monitoring import performance, samples, table_metrics
from monitoring.alerts import Metrics
from monitoring.performance import Performance
from ontime import database, database_tables, online_store, release, sources
from ontime.local_time import midnight
from ontime.params import Params
from ontime.release import Manifest
from ontime.settings import Settings

# Without any drift, the PSI of n predictions in ten bins is about 9 / n, and sometimes thrice that: limits are 0.25.
# A problem with one entity an hour has 168 in a week, and must not lose its check.
MIN_DRIFT_ENTITIES = 120


class DayContext(NamedTuple):
    """The day to monitor, and what is needed to read its data."""

    settings: Settings
    params: Params
    engine: sa.Engine
    day: date
    now: datetime  # the end of the day; later data are ignored


class Window(NamedTuple):
    """The predictions to measure: for the champion's question, by models that were not trained on the entity."""

    rows: pd.DataFrame
    other_question_share: float | None  # of all predictions; None if there are none
    performance: Performance


def predictions_since(
    context: DayContext, day: date, champion: Manifest, *, requests: bool = True, vectors: bool = False
) -> pd.DataFrame:
    """The predictions from `day` to the end of the monitored day, with the outcomes that are known by then."""
    return performance.predictions_with_outcomes(
        context.engine,
        midnight(day),
        context.now,
        champion.label_at_least,
        context.now,
        requests=requests,
        vectors=vectors,
    )


def read_window(context: DayContext, champion: Manifest) -> Window:
    """The predictions of the last days, this one included."""
    predictions = predictions_since(context, window_start(context), champion, requests=False)
    manifests = {
        version: release.verify(context.settings.releases / version) for version in set(predictions["model_version"])
    }
    rows = performance.with_question(
        predictions, champion.question, {version: manifest.question for version, manifest in manifests.items()}
    )
    other = round(1 - len(rows) / len(predictions), 4) if len(predictions) else None
    unseen = performance.out_of_sample(
        rows, {version: manifest.trained_until for version, manifest in manifests.items()}
    )
    return Window(unseen, other, performance.summarise(unseen, context.params))


def window_start(context: DayContext) -> date:
    """The first day of the window that performance is measured on."""
    return context.day - timedelta(days=context.params.monitor.window_days - 1)


def window_quality(context: DayContext, measured: Performance) -> dict[str, Any]:
    """The quality of the predictions in the window, for the page /ops; values are None if no outcome is known."""
    scores = measured.scores or {}
    return {
        "since": str(window_start(context)),
        "until": str(context.day),
        "entities": measured.entities,
        "labelled": measured.labelled,
        "positive_rate": measured.positive_rate,
        "predicted_rate": measured.predicted_rate,
        **{name: scores.get(name) for name in ("auc", "ece", "cost_per_1000")},
    }


def read_metrics(context: DayContext, champion: Manifest, window: Window) -> Metrics:
    """Every metric that an alert rule may name; None if there are no data for it."""
    rows, reference = window.rows, samples.read_reference(context.settings, champion)
    dataset = sources.dataset(context.params.dataset)
    today = predictions_since(context, context.day, champion, vectors=True)
    texts = online_store.texts_between(context.engine, champion.question, midnight(context.day), context.now)
    settled = rows[rows["day"] == pd.Timestamp(context.day - timedelta(days=context.params.monitor.settle_days))]
    return {
        "quarantined_batches": float(len(_decisions_today(context, "quarantine"))),
        "skewed_share": max((row.evidence["share"] for row in _decisions_today(context, "skew")), default=0.0),
        "late_share": max((row.evidence["share"] for row in _decisions_today(context, "late events")), default=0.0),
        "silent": float(today.empty) if len(today) or _has_predicted(context) else None,
        **table_metrics.prediction_metrics(
            today, reference, table_metrics.categorical_features(today, texts), accepted=dataset.blind_features
        ),
        "unlabelled_share": table_metrics.unlabelled_share(settled),
        **table_metrics.performance_metrics(window.performance),
        **_drift_metrics(context, champion),
    }


def _has_predicted(context: DayContext) -> bool:
    """Whether there is any prediction for an event before the end of the day: a new service has no callers yet."""
    predictions, entities = database_tables.predictions, database_tables.entities
    query = (
        sa.select(predictions.c.prediction_id)
        .join(entities, entities.c.entity_id == predictions.c.entity_id)
        .where(entities.c.event_at < context.now)
        .limit(1)
    )
    with context.engine.connect() as connection:
        return connection.execute(query).first() is not None


def _decisions_today(context: DayContext, kind: str) -> list[sa.Row[Any]]:
    """The decisions made during the day, for example quarantined batches, which may belong to another day."""
    start = midnight(context.day)
    decisions = database.decisions_of(context.engine, kind, since=start)
    # The last materialisation of a day is at midnight and belongs to the day that ends.
    return [row for row in decisions if start < row.decided_at <= context.now]


def _drift_metrics(context: DayContext, champion: Manifest) -> Metrics:
    """Drift of the last days against the champion's reference, on every `drift_every_days`-th day."""
    params = context.params.monitor
    if context.day.toordinal() % params.drift_every_days:
        return table_metrics.drift_metrics(None)
    since = context.day - timedelta(days=params.drift_every_days - 1)
    rows = predictions_since(context, since, champion, vectors=True)
    current = rows[rows["model_version"] == champion.version]
    if len(current) < MIN_DRIFT_ENTITIES:  # perhaps none: a champion that has not made a prediction yet
        return table_metrics.drift_metrics(None)
    from monitoring import drift  # here: Evidently takes seconds to import and is not needed every day

    reports = drift.build_reports(
        samples.read_reference(context.settings, champion),
        table_metrics.decoded(current, champion.categories),
        champion.threshold,
        f"{since} to {context.day}",
        params.drift_features,
    )
    reports.save(context.settings.evidently, "ontime", context.now, champion.version)
    return table_metrics.drift_metrics(reports.values())
