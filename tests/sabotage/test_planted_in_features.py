"""Faults in the code that makes features: what it looks at is known only after the prediction moment."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ontime import features, point_in_time, schema, sources
from ontime.datasets import Tables
from ontime.declaration import Question
from ontime.events import NEVER, Events
from ontime.params import Params
from ontime.problem import features as problem_features
from ontime.problem.data import DATA
from ontime.problem.window import HOUR_MINUTES, Columns, FlightWindow
from ontime.refusal import Refusal
from pipelines import features as stage
from pipelines.features import KeyMissing
from pipelines.layout import VALIDATED, MonthsMissing, write_tables
from tests import PARAMS_YAML
from tests.sabotage.conftest import Reported
from tests.sabotage.matrix import KEYS, MONTHS, POINT_IN_TIME, UNDECLARED, sabotage

Make = Callable[[FlightWindow], object]
SPRING = pd.Timestamp("2013-03-10 07:00", tz="UTC")  # New York's clock skips an hour
LATER_HOURS = 2


@pytest.fixture(scope="session")
def validated(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the stage `features` has run on two months without an error."""
    folder = tmp_path_factory.mktemp("validated")
    start, end = (pd.Timestamp(day, tz=schema.ZONE) for day in ("2013-02-01", "2013-04-01"))
    part = sources.cut(tables, start, end)
    shutil.copy(PARAMS_YAML, folder)
    (folder / "docs").mkdir()
    with pytest.MonkeyPatch.context() as inside:
        inside.chdir(folder)
        write_tables(part, VALIDATED)
        stage.main()
    return folder


@pytest.fixture
def workspace(validated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which the stage runs."""
    shutil.copytree(validated, tmp_path / "workspace")
    monkeypatch.chdir(tmp_path / "workspace")
    return tmp_path / "workspace"


@pytest.fixture
def refusal(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Make], str]:
    """The stage's error with one feature replaced by another, computed from the same window."""
    honest = problem_features._rotation

    def refused(make: Make) -> str:
        monkeypatch.setattr(
            problem_features, "_rotation", lambda window: honest(window) | {"turnaround_minutes": make(window)}
        )
        return stage_refuses(workspace)

    return refused


def stage_refuses(workspace: Path, error: type[Refusal] = point_in_time.FutureLeak) -> str:
    before = sorted((workspace / "data/features").iterdir())
    with pytest.raises(error) as refused:
        stage.main()
    assert sorted((workspace / "data/features").iterdir()) == before  # what was there stays
    return str(refused.value).split(";")[0]


@sabotage("future leak", "the minutes in the air in place of a feature", POINT_IN_TIME)
def test_minutes_in_the_air_stop_the_stage(refusal: Callable[[Make], str], reported: Reported) -> None:
    reported(refusal(lambda window: window.flights["air_minutes"][window.in_period].to_numpy()))


@sabotage("future leak", "the arrival delay of the aircraft's next leg", POINT_IN_TIME)
def test_the_next_legs_delay_stops_the_stage(refusal: Callable[[Make], str], reported: Reported) -> None:
    def next_leg(window: FlightWindow) -> object:
        return window.flights.groupby("tailnum")["arr_delay_minutes"].shift(-1)[window.in_period].to_numpy()

    reported(refusal(next_leg))


@pytest.mark.usefixtures("workspace")
@sabotage("future leak", "the late share of each destination over all flights", POINT_IN_TIME)
def test_a_mean_of_the_label_stops_the_stage(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    honest = features.build

    def build(tables: Tables, **rest: object) -> pd.DataFrame:
        late = tables["flights"]["arr_delay_minutes"] >= 15
        built = honest(tables, **rest)  # type: ignore[arg-type]  # what the stage passes on
        return built.assign(turnaround_minutes=built["dest"].map(late.groupby(tables["flights"]["dest"]).mean()))

    monkeypatch.setattr(features, "build", build)

    reported(stage_refuses(workspace))


@sabotage("future leak", "the number of flights cancelled at the airport up to the departure", POINT_IN_TIME)
def test_a_count_of_later_cancellations_stops_the_stage(refusal: Callable[[Make], str], reported: Reported) -> None:
    def cancelled(window: FlightWindow) -> object:
        never = window.actual_departure == NEVER
        events = Events(window.groups["origin"][never], window.scheduled_departure[never])
        leaves = window.scheduled_departure[window.in_period]
        return events.within(window.codes("origin"), leaves, LATER_HOURS * HOUR_MINUTES)[0].astype(float)

    reported(refusal(cancelled))


@sabotage("future leak", "the next weather observation, in the six hours after a clock change", POINT_IN_TIME)
def test_one_row_ahead_around_a_clock_change_stops_the_stage(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    honest, change = problem_features._weather, int(SPRING.timestamp()) // 60

    def ahead(window: FlightWindow, *rest: object) -> Columns:
        confused = (window.moment >= change) & (window.moment < change + 6 * HOUR_MINUTES)
        moment = window.moment + np.where(confused, HOUR_MINUTES, 0)
        return honest(replace(window, moment=moment), *rest)  # type: ignore[arg-type]  # what `build` passes on

    monkeypatch.setattr(problem_features, "_weather", ahead)

    reported(stage_refuses(workspace))


@sabotage("future leak", "a column added to the flights table, known after landing", POINT_IN_TIME)
def test_an_added_column_that_is_known_later_stops_the_stage(
    refusal: Callable[[Make], str], reported: Reported
) -> None:
    for path in sorted((VALIDATED / "flights").iterdir()):
        flights = pd.read_parquet(path)
        flights.assign(bags_lost=flights["flight_number"] % 7).to_parquet(path)

    reported(refusal(lambda window: window.flights["bags_lost"][window.in_period].to_numpy()))


@sabotage("future leak", "code that uses departures up to the flight's own departure", POINT_IN_TIME)
def test_code_that_takes_another_moment_stops_the_stage(
    workspace: Path, params: Params, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    honest = problem_features._operations

    def ahead(window: FlightWindow, question: Question) -> Columns:
        return honest(replace(window, moment=window.moment + params.features.lead_minutes), question)

    monkeypatch.setattr(problem_features, "_operations", ahead)

    reported(stage_refuses(workspace))


@sabotage("future leak", "a new table without a declaration of when it is known", UNDECLARED)
def test_a_table_without_a_declaration_is_refused(week: Tables, reported: Reported) -> None:
    moment = week["flights"]["scheduled_departure"].iloc[-1].to_pydatetime()
    sources.as_of(week, moment)

    with pytest.raises(sources.NotDeclared) as refused:
        sources.as_of({**week, "notices": week["weather"]}, moment)

    reported(str(refused.value).split(": ")[0])


@sabotage("rows lost", "the weather of a month that the next month's features look back to", MONTHS)
def test_a_lost_month_stops_the_stage(workspace: Path, reported: Reported) -> None:
    (workspace / VALIDATED / "weather/2013-02.parquet").unlink()

    reported(stage_refuses(workspace, MonthsMissing))


@sabotage("rows lost", "a partition key that some rows do not have", KEYS)
def test_a_row_that_would_be_in_no_partition_stops_the_stage(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    monkeypatch.setattr(stage, "DATA", replace(DATA, partition_key="tailnum"))

    reported(stage_refuses(workspace, KeyMissing))
