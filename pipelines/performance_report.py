"""How good production's answers were, once their outcomes are known: by day, month, release and slice.

    python -m pipelines.performance_report     everything that was answered until now, on the feed's clock

The page is var/performance.html, the same as numbers var/performance.json. The monitor's alerts look at the last days
only (pipelines/monitor.py); this is for people who want to know where and since when.
"""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pandas as pd

from monitoring import performance
from monitoring.performance import Performance
from ontime import database, environment, files, plots, release
from ontime.params import Params, load_params
from ontime.settings import Settings, load_settings
from pipelines import clock, pages
from pipelines.layout import write_json

FOLDER = Path("var")
EVER = datetime(1970, 1, 2, tzinfo=UTC)
AHEAD = timedelta(days=365)  # flights may be asked about long before they leave


class Told(NamedTuple):
    whole: Performance
    days: dict[str, Performance]
    groups: dict[str, dict[str, Performance]]
    trained_on: int  # answers that count for nothing: their release was trained on those days

    def as_json(self) -> dict[str, Any]:
        return {
            "whole": self.whole.as_json(),
            "trained_on": self.trained_on,
            "days": {day: each.as_json() for day, each in self.days.items()},
            "groups": {cut: {name: each.as_json() for name, each in by.items()} for cut, by in self.groups.items()},
        }


def measured(settings: Settings, params: Params, known_by: datetime) -> Told | None:
    """Everything answered, with the outcomes known at `known_by`; None where nothing was."""
    engine = database.connect(settings.database_url.get_secret_value())
    rows = performance.answers(engine, EVER, known_by + AHEAD, known_by)
    if rows.empty:
        return None
    limits = {
        version: release.verify(settings.releases / version).trained_until for version in set(rows["model_version"])
    }
    honest = performance.unseen_by_their_model(rows, limits).reset_index(drop=True)
    return Told(
        performance.measure(honest, params, with_intervals=True),
        performance.by_day(honest, params),
        performance.by_group(honest, params),
        len(rows) - len(honest),
    )


def write(told: Told, folder: Path) -> Path:
    """<folder>/performance.json and .html; where the page is."""
    write_json(folder / "performance.json", told.as_json())
    with TemporaryDirectory() as aside:
        drawn = Path(aside) / "days.png"
        plots.save(plots.performance_by_day(_days(told)), drawn)
        files.write_text(folder / "performance.html", _page(told, drawn))
    return folder / "performance.html"


def _days(told: Told) -> pd.DataFrame:
    """One row a day: what came true and what was said of it, the log-loss and what it should be, known outcomes."""
    return pd.DataFrame(
        [
            (
                each.late_rate,
                each.predicted_rate,
                each.scores["log_loss"] if each.scores else None,
                _expected(each),
                each.label_coverage,
            )
            for each in told.days.values()
        ],
        columns=["late", "predicted", "log_loss", "expected", "known"],
        index=pd.to_datetime(list(told.days)),
        dtype=float,
    )


def _expected(each: Performance) -> float | None:
    """The log-loss that the probabilities would have if they were exactly right."""
    if each.scores is None or each.loss_excess is None:
        return None
    return each.scores["log_loss"] - each.loss_excess


def _page(told: Told, drawn: Path) -> str:
    days = list(told.days)
    span = f"Flights of {days[0]} to {days[-1]}. " if days else ""
    return pages.document(
        "Performance in production",
        f"{span}95 % intervals draw whole days: flights of one day share its weather.",
        pages.listed(_summary(told)),
        pages.picture(drawn, "log-loss, share late and known outcomes by day"),
        *(part for cut, by in told.groups.items() for part in (pages.heading(f"By {cut}"), _table(cut, by))),
        pages.heading("By day"),
        _table("day", told.days),
    )


def _summary(told: Told) -> list[str]:
    whole = told.whole
    lines = [f"{whole.flights:,} flights answered, the outcome of {whole.label_coverage:.1%} is known."]
    if not whole.labelled:
        lines.append("No outcome is known yet, so this says nothing: neither good nor bad.")
    if told.trained_on:
        lines.append(f"{told.trained_on:,} more do not count: the release that answered was trained on those days.")
    return lines


HEAD = ("flights", "known", "late", "predicted", "log-loss", "AUC", "AP", "Brier", "ECE", "cost of 1000",
        "alerts right", "late ones alerted")  # fmt: skip


def _table(cut: str, by: Mapping[str, Performance]) -> str:
    return pages.table([cut, *HEAD], [[name, *_cells(each)] for name, each in by.items()])


def _cells(each: Performance) -> list[str]:
    shares = (each.late_rate, each.predicted_rate)
    return [
        f"{each.flights:,}",
        f"{each.label_coverage:.0%}",
        *("" if share is None else f"{share:.1%}" for share in shares),
        *(
            _score(each, name, digits)
            for name, digits in (("log_loss", 4), ("auc", 3), ("average_precision", 3), ("brier", 4), ("ece", 4),
                                 ("cost_per_1000", 0))
        ),
        *("" if share is None else f"{share:.0%}" for share in (each.alert_precision, each.alert_recall)),
    ]  # fmt: skip


def _score(each: Performance, name: str, digits: int) -> str:
    """The figure, with its interval where there are days enough; empty where nothing is known."""
    if each.scores is None:
        return ""
    told = f"{each.scores[name]:.{digits}f}"
    if each.intervals is None or name not in each.intervals:
        return told
    interval = each.intervals[name]
    return f"{told} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def main() -> None:
    settings, params = load_settings(), load_params()
    try:
        told = measured(settings, params, clock.now(settings, params))
    except release.ReleaseRefused as refused:
        sys.exit(f"performance: {refused}")
    if told is None:
        print("performance: no flight has been answered yet; `make serve`, and ask")
        return
    for line in _summary(told):
        print(f"performance: {line}")
    print(f"performance: {write(told, FOLDER)}")


if __name__ == "__main__":
    environment.settle()
    main()
