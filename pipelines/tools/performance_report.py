"""How good production's answers were, once their outcomes are known: by day, month, release and slice.

    python -m pipelines.tools.performance_report     everything that was answered, with every outcome that is stored

The page is var/performance.html, the same as numbers var/performance.json. The monitor's alerts look at the last days
only (pipelines/operations/monitor.py); this is for people who want to know where and since when.
"""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from monitoring import performance
from monitoring.performance import Performance
from ontime import database, environment, files, locks, operation_plots, plots, release, release_pointer, schema
from ontime.declaration import Question
from ontime.figures import Picture
from ontime.params import Params, load_params
from ontime.schema import WORDS
from ontime.settings import Settings, load_settings
from pipelines.layout import write_json
from pipelines.tools import pages

FOLDER = Path("var")
TEMPLATE = pages.TEMPLATES / "performance.html.jinja"
E = WORDS.entities
EVER = datetime(1970, 1, 2, tzinfo=UTC), datetime(2100, 1, 2, tzinfo=UTC)  # declaration.py refuses what is outside
DRAWN_FROM = 100  # known outcomes: a smaller group is in the tables alone


class Told(NamedTuple):
    whole: Performance
    days: dict[str, Performance]
    groups: dict[str, dict[str, Performance]]
    trained_on: int  # answers that count for nothing: their release was trained on those days
    asked_otherwise: int  # ... and those of releases that predict something else than the current one
    question: Question

    def as_json(self) -> dict[str, Any]:
        return {
            "whole": self.whole.as_json(),
            "trained_on": self.trained_on,
            "asked_otherwise": self.asked_otherwise,
            "days": {day: each.as_json() for day, each in self.days.items()},
            "groups": {cut: {name: each.as_json() for name, each in by.items()} for cut, by in self.groups.items()},
        }


def measured(settings: Settings, params: Params, known_by: datetime | None = None) -> Told | None:
    """Everything answered to the current release's question, with the outcomes; None where nothing was answered."""
    engine = database.connect(settings.database_url)
    current = release_pointer.live_manifest(settings.releases)
    question = current.question if current else params.question
    rows = performance.predictions_with_outcomes(engine, *EVER, question.label_at_least, known_by, vectors=True)
    if rows.empty:
        return None
    manifests = {version: release.verify(settings.releases / version) for version in set(rows["model_version"])}
    same = performance.with_question(rows, question, {each: told.question for each, told in manifests.items()})
    limits = {version: manifest.trained_until for version, manifest in manifests.items()}
    honest = performance.out_of_sample(same, limits).reset_index(drop=True)
    return Told(
        performance.summarise(honest, params, with_intervals=True),
        performance.by_day(honest, params),
        performance.by_group(honest, params, {each: manifest.categories for each, manifest in manifests.items()}),
        len(same) - len(honest),
        len(rows) - len(same),
        question,
    )


def write(told: Told, folder: Path) -> Path:
    """<folder>/performance.json and .html; where the page is."""
    write_json(folder / "performance.json", told.as_json())
    files.write_text(folder / "performance.html", _page(told))
    return folder / "performance.html"


def _days(told: Told) -> pd.DataFrame:
    """One row a day: what came true and what was said of it, the log-loss and what it should be, known outcomes."""
    return pd.DataFrame(
        [
            (
                each.positive_rate,
                each.predicted_rate,
                each.scores["log_loss"] if each.scores else None,
                _expected(each),
                each.labelled,
            )
            for each in told.days.values()
        ],
        columns=["positive", "predicted", "log_loss", "expected", "labelled"],
        index=pd.to_datetime(list(told.days)),
        dtype=float,
    )


def _expected(each: Performance) -> float | None:
    """The log-loss that the probabilities would have if they were exactly right."""
    if each.scores is None or each.loss_excess is None:
        return None
    return each.scores["log_loss"] - each.loss_excess


def _page(told: Told) -> str:
    return pages.page(
        TEMPLATE,
        _pictures(told) if told.whole.labelled else {},
        whole=told.whole,
        days=told.days,
        cuts=told.groups,
        without_interval=[cut for cut, by in told.groups.items() if not _has_intervals(by)],
        min_days=performance.FEWEST_DAYS,
        summary=_summary(told),
    )


def _pictures(told: Told) -> dict[str, Picture]:
    days = _days(told)
    drawn = {"shares": operation_plots.shares_by_day(days), "loss": operation_plots.loss_by_day(days)}
    if told.whole.scores is None:
        return drawn
    rows = [
        (cut, name, each.scores["auc"], (each.intervals or {}).get("auc"), each.entities)
        for cut, by in told.groups.items()
        for name, each in by.items()
        if each.scores and each.labelled >= DRAWN_FROM
    ]
    return {
        **drawn,
        "slices": plots.slices(rows, told.whole.scores["auc"], f"of groups with {DRAWN_FROM} known outcomes or more"),
    }


def _has_intervals(by: Mapping[str, Performance]) -> bool:
    """Whether no score stands alone."""
    return all(each.scores is None or (each.intervals and "auc" in each.intervals) for each in by.values())


def _summary(told: Told) -> list[str]:
    whole = told.whole
    lines = [f"{whole.entities:,} {E} answered, the outcome of {whole.label_coverage:.1%} is known."]
    lines.append(f"The question is {schema.in_words(told.question)}.")
    if not whole.labelled:
        lines.append("No outcome is known yet, so this says nothing: neither good nor bad.")
    if told.trained_on:
        lines.append(f"{told.trained_on:,} more do not count: the release that answered was trained on those days.")
    if told.asked_otherwise:
        lines.append(
            f"{told.asked_otherwise:,} more do not count: the release that answered predicts something else, "
            "so other outcomes are right for it."
        )
    return lines


def main() -> None:
    settings, params = load_settings(), load_params()
    try:
        told = measured(settings, params)
    except (release.ReleaseRefused, locks.Busy) as refused:
        sys.exit(f"performance: {refused}")
    if told is None:
        print(f"performance: no {WORDS.entity} has been answered yet; `make serve`, and ask")
        return
    for line in _summary(told):
        print(f"performance: {line}")
    print(f"performance: {write(told, FOLDER)}")


if __name__ == "__main__":
    environment.enforce()
    main()
