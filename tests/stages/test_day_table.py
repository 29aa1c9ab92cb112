"""The days of data/validated/, their kinds, and where these are shown."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ontime import sources
from ontime.datasets import Tables
from ontime.params import Params
from ontime.problem.data import DATA
from pipelines import day_table, evaluate, explore, layout

pytestmark = pytest.mark.slow


FINDINGS = ("rate_by_month", "rate_by_hour", "rate_by_hour_and_weekday", "missing", "drift", "kinds_of_days")
PROBABILITY = np.full(30 * 100, 0.2)


@pytest.fixture(scope="module")
def validated(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the year's tables; a day in November has no weather."""
    folder = tmp_path_factory.mktemp("year")
    weather = tables["weather"]
    present = sources.days_of(weather["hour"]) != pd.Timestamp("2013-11-20")
    layout.write_tables({**tables, "weather": weather[present]}, folder / layout.VALIDATED)
    return folder


@pytest.fixture
def year(validated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(validated)


@pytest.mark.usefixtures("year")
def test_a_day_begins_at_midnight_in_new_york(tables: Tables, params: Params) -> None:
    flights = tables["flights"]
    moments = flights["scheduled_departure"]
    local = flights[(moments >= "2013-07-01 04:00Z") & (moments < "2013-07-02 04:00Z")]

    day = day_table.read_days(params.question).loc["2013-07-01"]

    assert day["flights"] == len(local)
    assert day["arrival delay"] == pytest.approx(local["arr_delay_minutes"].mean())
    assert day["labelled"] == local["arr_delay_minutes"].notna().sum()
    assert day["positive"] == (local["arr_delay_minutes"] >= 15).sum()


@pytest.mark.usefixtures("year")
def test_the_page_shows_the_kinds_of_a_declaration_that_has_columns_of_days(params: Params) -> None:
    kinds = explore.find_kinds(params)
    assert kinds is not None

    text = explore.eda_page(pd.DataFrame(), dict.fromkeys(FINDINGS, "Said"), params.question, kinds)

    assert "| few flights |" in text
    assert "weak structure" in text
    assert len(kinds.of_days) == 365 - 2  # 31 December has no weather either


@pytest.mark.usefixtures("year")
def test_without_columns_of_days_there_is_no_section_and_no_score(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day_table, "DATA", replace(DATA, day_columns=()))

    kinds = explore.find_kinds(params)
    text = explore.eda_page(pd.DataFrame(), dict.fromkeys(FINDINGS, "Said"), params.question, kinds)

    assert "Kinds of days" not in text
    assert evaluate.scores_by_kind_of_day(november(), PROBABILITY, params) == []


def november() -> evaluate.TestSet:
    """A hundred flights of each day of November, every fifth one late."""
    days = pd.date_range("2013-11-01", periods=30).repeat(100).as_unit("s")
    label = np.arange(len(days)) % 5 == 0
    return evaluate.TestSet(pd.DataFrame({"day": days}), label, np.empty((0, 0), np.float32), {})


@pytest.mark.usefixtures("year")
def test_scores_by_kind_cover_every_day_and_never_gate(params: Params) -> None:
    rows = evaluate.scores_by_kind_of_day(november(), PROBABILITY, params)

    by_kind = {row["slice"]: row for row in rows}
    assert sum(row["days"] for row in rows) == 30
    assert by_kind["unknown"]["days"] == 1
    assert by_kind["few flights"]["entities"] == 100 * by_kind["few flights"]["days"]
    assert not any(row["gated"] for row in rows)
