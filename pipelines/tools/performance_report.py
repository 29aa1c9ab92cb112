"""How good production's predictions were, once their outcomes are known: by day, month, release and slice.

    make performance                                     the year that ends with the latest predicted entity
    make performance FROM=2013-06-01 UNTIL=2013-07-01    another period, the last day exclusive

The last prediction of each entity counts, with its outcome if that is stored. Writes var/performance.html, and its
numbers as var/performance.json. The monitor's alerts cover the last days only (pipelines/operations/monitor.py); this
report shows where and since when a score changed.
"""

import json
import sys
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa

from monitoring import performance
from monitoring.performance import Performance
from ontime import (
    database,
    database_tables,
    files,
    local_time,
    locks,
    operation_plots,
    plots,
    release,
    release_pointer,
    schema,
)
from ontime.declaration import Question
from ontime.figures import Picture
from ontime.params import Params, load_params
from ontime.progress import steps
from ontime.schema import WORDS
from ontime.settings import Settings, load_settings
from pipelines.layout import write_json
from pipelines.tools import pages
from pipelines.tools.predictions_by_month import read_predictions

FOLDER = Path("var")
TEMPLATE = pages.TEMPLATES / "performance.html.jinja"
DEFAULT_DAYS = 366  # a whole year; all rows are in memory at once
FEWEST_DRAWN = 100  # known outcomes; smaller groups are only in the tables


class PerformanceReport(NamedTuple):
    whole: Performance
    days: dict[str, Performance]
    groups: dict[str, dict[str, Performance]]
    trained_on: int  # predictions left out because their release was trained on those days
    other_question: int  # ... because their release predicts a different label from the current one
    question: Question

    def as_json(self) -> dict[str, Any]:
        return {
            "whole": self.whole.as_json(),
            "trained_on": self.trained_on,
            "other_question": self.other_question,
            "days": {day: each.as_json() for day, each in self.days.items()},
            "groups": {
                dimension: {name: each.as_json() for name, each in by.items()} for dimension, by in self.groups.items()
            },
        }


class ReportedDays(NamedTuple):
    """The days of the event that a report is about; None: the default, which is `DEFAULT_DAYS` up to the latest one."""

    start: date | None = None
    until: date | None = None  # exclusive


DEFAULT_PERIOD = ReportedDays()


def measure_performance(
    settings: Settings, params: Params, known_by: datetime | None = None, days: ReportedDays = DEFAULT_PERIOD
) -> PerformanceReport | None:
    """The scores of the predictions for the current release's question; None if there are no predictions."""
    engine = database.connect(settings.database_url)
    until = days.until or _day_after_last_prediction(engine)
    if until is None:
        return None
    start = days.start or until - timedelta(days=DEFAULT_DAYS)
    current = release_pointer.live_manifest(settings.releases)
    question = current.question if current else params.question
    rows = read_predictions(settings, start, until, question.label_at_least, known_by)
    if rows.empty:
        return None
    manifests = {version: release.verify(settings.releases / version) for version in set(rows["model_version"])}
    questions = {version: manifest.question for version, manifest in manifests.items()}
    same = performance.with_question(rows, question, questions)
    limits = {version: manifest.trained_until for version, manifest in manifests.items()}
    honest = performance.out_of_sample(same, limits).reset_index(drop=True)
    return PerformanceReport(
        performance.summarise(honest, params, with_intervals=True),
        performance.by_day(honest, params),
        performance.by_group(honest, params, {each: manifest.categories for each, manifest in manifests.items()}),
        len(same) - len(honest),
        len(rows) - len(same),
        question,
    )


def _day_after_last_prediction(engine: sa.Engine) -> date | None:
    """The day after the latest event of a predicted entity; None if there is no prediction."""
    entity, prediction = database_tables.entities.c, database_tables.predictions.c
    predicted = sa.exists().where(prediction.entity_id == entity.entity_id)
    query = sa.select(entity.event_at).where(predicted).order_by(entity.event_at.desc()).limit(1)
    with engine.connect() as connection:
        latest = connection.execute(query).scalar()
    return None if latest is None else local_time.day_of(latest) + timedelta(days=1)


def write_performance(report: PerformanceReport, folder: Path) -> Path:
    """Write <folder>/performance.json and .html; returns the path of the page."""
    write_json(folder / "performance.json", report.as_json())
    files.write_text(folder / "performance.html", _page(report))
    return folder / "performance.html"


def _days(report: PerformanceReport) -> pd.DataFrame:
    """One row a day: observed and predicted rate, measured and expected log-loss, number of known outcomes."""
    return pd.DataFrame(
        [
            (
                each.positive_rate,
                each.predicted_rate,
                each.scores["log_loss"] if each.scores else None,
                _expected(each),
                each.labelled,
            )
            for each in report.days.values()
        ],
        columns=["positive", "predicted", "log_loss", "expected", "labelled"],
        index=pd.to_datetime(list(report.days)),
        dtype=float,
    )


def _expected(each: Performance) -> float | None:
    """The log-loss to expect of calibrated probabilities."""
    if each.scores is None or each.loss_excess is None:
        return None
    return each.scores["log_loss"] - each.loss_excess


def _page(report: PerformanceReport) -> str:
    return pages.render_page(
        TEMPLATE,
        _pictures(report) if report.whole.labelled else {},
        whole=report.whole,
        days=report.days,
        dimensions=report.groups,
        without_interval=[dimension for dimension, by in report.groups.items() if not _has_intervals(by)],
        min_days=performance.FEWEST_DAYS,
        summary=_summary(report),
    )


def _pictures(report: PerformanceReport) -> dict[str, Picture]:
    days = _days(report)
    pictures = {"shares": operation_plots.shares_by_day(days), "loss": operation_plots.loss_by_day(days)}
    if report.whole.scores is None:
        return pictures
    rows = [
        (dimension, name, each.scores["auc"], (each.intervals or {}).get("auc"), each.entities)
        for dimension, by in report.groups.items()
        for name, each in by.items()
        if each.scores and each.labelled >= FEWEST_DRAWN
    ]
    groups = f"of groups with {FEWEST_DRAWN} known outcomes or more"
    return {**pictures, "slices": plots.slices(rows, report.whole.scores["auc"], groups)}


def _has_intervals(by: Mapping[str, Performance]) -> bool:
    """Whether every score has an interval."""
    return all(each.scores is None or (each.intervals and "auc" in each.intervals) for each in by.values())


def _summary(report: PerformanceReport) -> list[str]:
    whole = report.whole
    lines = [f"{whole.entities:,} {WORDS.entities} scored, {whole.label_coverage:.1%} with a known outcome."]
    lines.append(f"The question is {schema.in_words(report.question)}.")
    if not whole.labelled:
        lines.append("No outcome is known yet, so there is nothing to measure.")
    if report.trained_on:
        lines.append(f"{report.trained_on:,} more are left out: their release was trained on those days.")
    if report.other_question:
        lines.append(
            f"{report.other_question:,} more are left out: their release predicts a different label from the current "
            "one."
        )
    return lines


def main(start: date | None = None, until: date | None = None, *, as_json: bool = False) -> None:
    """Write the page, and print a summary; as JSON the whole report, and the path of the page."""
    settings, params = load_settings(), load_params()
    days = ReportedDays(start, until)
    if start and until and start >= until:
        sys.exit(f"performance: the period from {start} until {until}, exclusive, is empty")
    page = None
    try:
        with steps("performance", 2) as begin:
            begin("reads and measures the predictions")
            report = measure_performance(settings, params, days=days)
            begin("draws the page")
            if report is not None:
                page = write_performance(report, FOLDER)
    except (release.ReleaseRefused, locks.Busy) as error:
        sys.exit(f"performance: {error}")
    if as_json:
        print(json.dumps({"page": page and str(page), "report": report and report.as_json()}))
        return
    if report is None:
        period = " of this period" if any(days) else ""
        print(f"performance: no {WORDS.entity}{period} has a prediction yet; run make serve, and send requests")
        return
    for line in _summary(report):
        print(f"performance: {line}")
    print(f"performance: {page}")
