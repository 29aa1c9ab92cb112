"""The healthy states into which faults are planted, and the fixture that compares what was reported."""

import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from monitoring.alerts import Tier
from monitoring.policy import Action
from ontime import database, features, release_pointer, sources
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params
from pipelines.operations import materialise
from tests import workers
from tests.sabotage import matrix, world
from tests.sabotage.world import FIRST, FRIDAY, SATURDAY, SUNDAY, WINTER, DayResult, Model, World

Reported = Callable[[object], None]
ROWS = pytest.StashKey[dict[str, dict[str, Any]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sabotage(declared): the fault that a test plants")
    config.stash[ROWS] = {}


@pytest.fixture
def reported(request: pytest.FixtureRequest) -> Reported:
    """A function that a test calls last, with the message that its fault led to; it must be the committed one."""
    declared = request.node.get_closest_marker("sabotage").args[0]

    def report(message: object) -> None:
        row = matrix.row_of(declared, str(message))
        request.config.stash[ROWS][declared.planted] = row
        if not request.config.getoption("write_matrix"):
            before = {each["planted"]: each for each in matrix.committed()}
            assert row == before.get(declared.planted), "differs from docs/sabotage.md; `make sabotage` writes it again"

    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if session.config.getoption("write_matrix") and exitstatus == pytest.ExitCode.OK:
        rows = session.config.stash[ROWS]
        matrix.write([rows[each.planted] for each in matrix.declared_by(_functions(session))])


def _functions(session: pytest.Session) -> list[Any]:
    return [item.function for item in session.items if isinstance(item, pytest.Function)]


@pytest.fixture(scope="session")
def timetable(tables: Tables) -> pd.DataFrame:
    return tables["flights"].set_index("entity_id", drop=False)


@pytest.fixture(scope="session")
def march(tables: Tables, params: Params) -> pd.DataFrame:
    """The flights on which winter's models are evaluated."""
    return world.labelled(tables, WINTER["test_from"], WINTER["test_until"], params)


@pytest.fixture(scope="session")
def winter(
    tables: Tables,
    march: pd.DataFrame,
    timetable: pd.DataFrame,
    params: Params,
    tmp_path_factory: pytest.TempPathFactory,
) -> Model:
    """A model of January and February."""

    def build() -> Model:
        train = world.labelled(tables, WINTER["train_from"], WINTER["valid_from"], params)
        split = params.model_copy(update={"split": params.split.model_copy(update=WINTER)})
        return world.fit(train.iloc[:: world.EVERY].reset_index(drop=True), march, timetable, split, world.TREES)

    return workers.built_once(tmp_path_factory, "winter", build)


@pytest.fixture(scope="session")
def other(winter: Model, tables: Tables, march: pd.DataFrame, timetable: pd.DataFrame, params: Params) -> Model:
    """A worse model: of a week, with few trees."""
    train = world.labelled(tables, date(2013, 1, 7), date(2013, 1, 14), params)
    return world.fit(train, march, timetable, winter.params, 5)


@pytest.fixture(scope="session")
def inverted(winter: Model, tables: Tables, march: pd.DataFrame, timetable: pd.DataFrame, params: Params) -> Model:
    """A model trained on inverted labels."""
    train = world.labelled(tables, date(2013, 1, 7), date(2013, 1, 14), params)
    return world.fit(train.assign(label=~train["label"]), march, timetable, winter.params, 5)


@pytest.fixture
def releases(winter: Model, tmp_path: Path) -> Path:
    """Release 1 is published and live."""
    winter.publish(tmp_path / "releases", "1")
    release_pointer.set_live(tmp_path / "releases", "1")
    return tmp_path / "releases"


class Evening(NamedTuple):
    """A production after a healthy day, and the monitor's result for that day."""

    folder: Path
    result: DayResult


@pytest.fixture(scope="session")
def friday(
    winter: Model,
    raw: Tables,
    tables: Tables,
    timetable: pd.DataFrame,
    params: Params,
    tmp_path_factory: pytest.TempPathFactory,
) -> Evening:
    """It has served every flight for two weeks, and was monitored on four days."""
    healthy = World(tmp_path_factory.mktemp("friday"), raw, params)
    winter.publish(healthy.settings.releases, "1")
    release_pointer.set_live(healthy.settings.releases, "1")
    soon = timedelta(minutes=params.features.lead_minutes)  # flights so early on Saturday are scored on Friday
    rows = features.build(tables, midnight(FIRST), midnight(SATURDAY) + soon, params.features, params.question)
    materialise.materialise_rows(healthy.engine, params.question, rows, timetable)
    arrived = timetable.loc[rows["entity_id"]]
    arrived = arrived[arrived["arrived_at"] <= midnight(SATURDAY)]
    database.store_outcomes(healthy.engine, materialise.outcomes_of(arrived, params.label.at_least))
    healthy.ask(FIRST, FRIDAY)
    results = [healthy.monitor_day(FRIDAY - timedelta(days=days)) for days in (3, 2, 1, 0)]
    return _evening(healthy, results[-1])


@pytest.fixture(scope="session")
def saturday(friday: Evening, raw: Tables, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Evening:
    return _next_day(friday, SATURDAY, raw, params, tmp_path_factory.mktemp("saturday"))


@pytest.fixture(scope="session")
def sunday(saturday: Evening, raw: Tables, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Evening:
    """On Sundays drift is measured."""
    return _next_day(saturday, SUNDAY, raw, params, tmp_path_factory.mktemp("sunday"))


def _next_day(before: Evening, day: date, raw: Tables, params: Params, folder: Path) -> Evening:
    healthy = _copy(before, folder, raw, params)
    return _evening(healthy, healthy.run_day(day))


def _evening(healthy: World, result: DayResult) -> Evening:
    assert result.decision.action is Action.NOTHING
    assert not [each for each in result.alerts.values() if each.tier is not Tier.REPORT]
    healthy.engine.dispose()  # so that the files can be copied
    return Evening(healthy.settings.releases.parent, result)


def _copy(evening: Evening, folder: Path, raw: Tables, params: Params) -> World:
    shutil.copytree(evening.folder, folder / "production")
    return World(folder / "production", raw, params)


@pytest.fixture
def production(friday: Evening, raw: Tables, params: Params, tmp_path: Path) -> World:
    """A copy of the healthy production on the evening of Friday: no alert, and nothing to do."""
    return _copy(friday, tmp_path, raw, params)


@pytest.fixture
def production_on_saturday(saturday: Evening, raw: Tables, params: Params, tmp_path: Path) -> World:
    return _copy(saturday, tmp_path, raw, params)


@pytest.fixture
def production_on_sunday(sunday: Evening, raw: Tables, params: Params, tmp_path: Path) -> World:
    return _copy(sunday, tmp_path, raw, params)


@pytest.fixture(scope="session")
def week(raw: Tables) -> Tables:
    """The raw tables around the week that ends with Saturday: small enough to break one after another."""
    return sources.cut(raw, midnight(SATURDAY - timedelta(days=6)), midnight(SATURDAY + timedelta(days=1)))


@pytest.fixture(scope="session")
def month(raw: Tables) -> Tables:
    """The raw tables of February: enough rows to judge how the columns are distributed."""
    return sources.cut(raw, midnight(date(2013, 2, 1)), midnight(date(2013, 3, 1)))
