"""`make performance`: scores by day, release and slice, and what the report contains without outcomes."""

import json
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.settings import Settings
from pipelines.tools import performance_report
from tests.production import MONDAY, SUNDAY, TUESDAY, WEDNESDAY, simulate_day

pytestmark = pytest.mark.slow


def test_performance_is_reported_by_day_release_and_slice(
    world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params, tmp_path: Path
) -> None:
    sunday = MONDAY - timedelta(days=1)  # one that the models were trained on
    for day in (sunday, MONDAY, TUESDAY):
        simulate_day(world, engine, weeks, tables, day)
    flights = weeks["day"].value_counts()

    report = performance_report.measure_performance(world, params, midnight(SUNDAY))

    assert report is not None
    page = performance_report.write_performance(report, tmp_path).read_text()
    content = json.loads((tmp_path / "performance.json").read_text())
    expected = {str(day): int(flights[pd.Timestamp(day)]) for day in (MONDAY, TUESDAY)}
    assert {day: each["entities"] for day, each in content["days"].items()} == expected
    assert content["trained_on"] == flights[pd.Timestamp(sunday)]
    assert content["groups"]["version"].keys() == {"1"}
    for group in content["groups"].values():
        assert sum(each["entities"] for each in group.values()) == sum(expected.values())
    low, high = content["whole"]["intervals"]["log_loss"]
    assert low < content["whole"]["scores"]["log_loss"] < high
    assert f'<th scope="row">1</th><td class="number">{sum(expected.values()):,}</td>' in page
    assert "their release was trained on those days" in page
    for dimension in ("origin", "carrier", "hour", "distance", "month", "version", "day"):
        assert f"<h2>By {dimension}</h2>" in page


@pytest.mark.parametrize("day", [MONDAY, MONDAY - timedelta(days=1)], ids=["too early", "a day of the training"])
def test_performance_without_outcomes_is_reported_as_such(
    day: date, world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params, tmp_path: Path
) -> None:
    assert performance_report.measure_performance(world, params, midnight(SUNDAY)) is None
    simulate_day(world, engine, weeks, tables, day)

    report = performance_report.measure_performance(world, params, midnight(MONDAY))

    assert report is not None
    assert report.whole.labelled == 0
    page = performance_report.write_performance(report, tmp_path).read_text()
    assert "there is nothing to measure" in page
    assert '<p class="empty">No outcomes yet' in page
    assert "<svg" not in page


def test_performance_is_reported_of_the_last_days_or_of_those_that_are_named(
    world: Settings,
    engine: sa.Engine,
    weeks: pd.DataFrame,
    tables: Tables,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        simulate_day(world, engine, weeks, tables, day)
    monkeypatch.setattr(performance_report, "DEFAULT_DAYS", 2)

    def reported(start: date | None = None, until: date | None = None) -> list[str]:
        days = performance_report.ReportedDays(start, until)
        report = performance_report.measure_performance(world, params, days=days)
        return [] if report is None else list(report.days)

    assert reported() == [str(TUESDAY), str(WEDNESDAY)]
    assert reported(MONDAY) == [str(MONDAY), str(TUESDAY), str(WEDNESDAY)]
    assert reported(until=WEDNESDAY) == [str(MONDAY), str(TUESDAY)]
    assert reported(MONDAY, TUESDAY) == [str(MONDAY)]
    assert reported(until=MONDAY) == []


def test_a_period_that_is_empty_is_refused() -> None:
    with pytest.raises(SystemExit, match=f"the period from {TUESDAY} until {TUESDAY}, exclusive, is empty"):
        performance_report.main(TUESDAY, TUESDAY)
