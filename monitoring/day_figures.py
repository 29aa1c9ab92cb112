"""What a day is judged by: the figures of its answers and of the window's performance, read from database and release.

monitoring/indicators.py computes most of them from tables; this collects the tables.
"""

from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa

from monitoring import indicators, performance, periods
from monitoring.indicators import Figures
from monitoring.performance import Performance
from ontime import database, release
from ontime.local_time import midnight
from ontime.params import Params
from ontime.release import Manifest
from ontime.settings import Settings


class Watch(NamedTuple):
    """What a day's look at the service needs."""

    settings: Settings
    params: Params
    engine: sa.Engine
    day: date
    now: datetime  # the end of the day: nothing later is looked at


class Window(NamedTuple):
    """The answers that performance is measured on: to the champion's question, by models not trained on the entity."""

    rows: pd.DataFrame
    other_question_share: float | None  # of all answers; None where there are none
    performance: Performance


def answers_since(watch: Watch, day: date, champion: Manifest, *, vectors: bool = False) -> pd.DataFrame:
    """What was answered from `day` to the end of the watched one, with the outcomes that are known by then."""
    return performance.answers(
        watch.engine, midnight(day), watch.now, champion.label_at_least, watch.now, vectors=vectors
    )


def window_of(watch: Watch, champion: Manifest) -> Window:
    """The answers of the last days, up to and with this one."""
    every = answers_since(watch, first_day(watch), champion)
    manifests = {version: release.verify(watch.settings.releases / version) for version in set(every["model_version"])}
    rows = performance.of_question(
        every, champion.question, {version: manifest.question for version, manifest in manifests.items()}
    )
    other = round(1 - len(rows) / len(every), 4) if len(every) else None
    unseen = performance.unseen_by_their_model(
        rows, {version: manifest.trained_until for version, manifest in manifests.items()}
    )
    return Window(unseen, other, performance.measure(unseen, watch.params))


def first_day(watch: Watch) -> date:
    """The first of the days that performance is measured on."""
    return watch.day - timedelta(days=watch.params.monitor.window_days - 1)


def quality_of(watch: Watch, measured: Performance) -> dict[str, Any]:
    """How good the answers of the window were, for the page /ops; None where no outcome is known."""
    scores = measured.scores or {}
    return {
        "since": str(first_day(watch)),
        "until": str(watch.day),
        "entities": measured.entities,
        "labelled": measured.labelled,
        "positive_rate": measured.positive_rate,
        "predicted_rate": measured.predicted_rate,
        **{name: scores.get(name) for name in ("auc", "ece", "cost_per_1000")},
    }


def figures_of(watch: Watch, champion: Manifest, window: Window) -> Figures:
    """Every figure that a rule in params.yaml may name; None where there is nothing to tell it from."""
    rows, reference = window.rows, periods.reference_of(watch.settings, champion)
    today = answers_since(watch, watch.day, champion, vectors=True)
    texts = database.texts_between(watch.engine, champion.question, midnight(watch.day), watch.now)
    settled = rows[rows["day"] == pd.Timestamp(watch.day - timedelta(days=watch.params.monitor.settle_days))]
    return {
        "quarantined_batches": float(len(_decisions_today(watch, "quarantine"))),
        "skewed_share": max((row.evidence["share"] for row in _decisions_today(watch, "skew")), default=0.0),
        "silent": float(today.empty),
        **indicators.of_answers(today, reference, indicators.categories_of(today, texts)),
        "unlabelled_share": indicators.unlabelled_share(settled),
        **indicators.of_performance(window.performance),
        **_drift_figures(watch, champion),
    }


def _decisions_today(watch: Watch, kind: str) -> list[sa.Row[Any]]:
    """Such as the batches that were set aside during the day, whichever day they are of."""
    began = midnight(watch.day)
    decisions = database.decisions_of(watch.engine, kind, since=began)
    # The last materialisation of a day is at midnight: it is of the day that ends.
    return [row for row in decisions if began < row.decided_at <= watch.now]


def _drift_figures(watch: Watch, champion: Manifest) -> Figures:
    """Evidently's figures of the last days against the reference of the model that answered them; not every day."""
    params = watch.params.monitor
    if watch.day.toordinal() % params.drift_every_days:
        return indicators.of_drift(None)
    since = watch.day - timedelta(days=params.drift_every_days - 1)
    rows = answers_since(watch, since, champion, vectors=True)
    current = rows[rows["model_version"] == champion.version]
    if current.empty:  # the champion of today has answered nothing yet
        return indicators.of_drift(None)
    from monitoring import drift  # here, because Evidently takes seconds to import and is not asked every day

    reports = drift.run(
        periods.reference_of(watch.settings, champion),
        indicators.decoded(current, champion.categories),
        champion.threshold,
        f"{since} to {watch.day}",
        params.drift_features,
    )
    reports.save(watch.settings.evidently, "ontime", watch.now, champion.version)
    return indicators.of_drift(reports.figures())
