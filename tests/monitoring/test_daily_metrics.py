"""The metrics of a day: from its predictions, outcomes and quarantined batches."""

from collections.abc import Mapping
from datetime import date, timedelta

import pandas as pd
import pytest
import sqlalchemy as sa

from monitoring import daily_metrics
from monitoring.daily_metrics import DayContext
from ontime import database_tables, release
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.settings import Settings
from tests.production import MONDAY, SUNDAY, TUESDAY, WEDNESDAY, pointer_of, record_quarantine, simulate_day

pytestmark = pytest.mark.slow


def figures(settings: Settings, engine: sa.Engine, params: Params, day: date) -> Mapping[str, float | None]:
    context = DayContext(settings, params, engine, day, midnight(day + timedelta(days=1)))
    champion = release.verify(settings.releases / pointer_of(settings).version)
    return daily_metrics.read_metrics(context, champion, daily_metrics.read_window(context, champion))


@pytest.mark.parametrize("seconds", [-3600, 0])
def test_a_broken_batch_counts_on_one_day(seconds: int, world: Settings, engine: sa.Engine, params: Params) -> None:
    """Even if it arrived with the last materialisation of the day, at midnight."""
    record_quarantine(engine, midnight(TUESDAY) + timedelta(seconds=seconds))

    counts = [figures(world, engine, params, day)["quarantined_batches"] for day in (MONDAY, TUESDAY)]

    assert counts == [1, 0]


@pytest.mark.parametrize("days", [(), (MONDAY, TUESDAY, WEDNESDAY)])
def test_every_alert_rule_names_an_existing_figure(
    days: tuple[date, ...], world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params
) -> None:
    for day in days:
        simulate_day(world, engine, weeks, tables, day)

    measured = figures(world, engine, params, WEDNESDAY)

    assert params.monitor.alerts.keys() <= measured.keys()


def test_a_day_is_silent_only_after_the_first_prediction_of_all(
    world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params
) -> None:
    """The morning after the first release is not an alert: nobody can have asked before."""
    simulate_day(world, engine, weeks, tables, TUESDAY)

    silent = [figures(world, engine, params, day)["silent"] for day in (MONDAY, TUESDAY, WEDNESDAY)]

    assert silent == [None, 0, 1]


def test_the_figures_of_a_day_are_those_of_its_flights(
    world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params
) -> None:
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        simulate_day(world, engine, weeks, tables, day)
    with engine.begin() as connection:  # a tenth of Wednesday's flights were predicted without stored features
        alone = database_tables.predictions.c.entity_id.like("%-201302201__0Z")
        count = connection.execute(
            sa.update(database_tables.predictions).where(alone).values(features="request")
        ).rowcount

    measured = figures(world, engine, params, WEDNESDAY)

    days = weeks.set_index("day")["label"]
    assert measured["request_only_share"] == round(count / len(days.loc[[pd.Timestamp(WEDNESDAY)]]), 4)
    assert measured["unlabelled_share"] == round(float(days.loc[[pd.Timestamp(MONDAY)]].isna().mean()), 4)
    assert measured["unseen_share"] is not None
    assert measured["auc"] is not None
    assert measured["auc"] > 0.6
    assert (measured["prediction_psi"], measured["feature_psi"]) == (None, None)


def test_drift_is_measured_and_stored_every_few_days(
    world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params
) -> None:
    params = params.model_copy(update={"monitor": params.monitor.model_copy(update={"drift_every_days": 7})})
    simulate_day(world, engine, weeks, tables, SUNDAY)

    measured = figures(world, engine, params, SUNDAY)

    assert params.monitor.alerts.keys() <= measured.keys()
    assert measured["prediction_psi"] is not None
    assert measured["feature_psi"] == max(value or 0 for name, value in measured.items() if name.startswith("psi "))
    assert len(list(world.evidently.rglob("snapshots/*.json"))) == 4


def test_drift_of_a_few_predictions_is_not_measured(
    world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params
) -> None:
    params = params.model_copy(update={"monitor": params.monitor.model_copy(update={"drift_every_days": 7})})
    few = weeks[weeks["day"] == pd.Timestamp(SUNDAY)].head(daily_metrics.MIN_DRIFT_ENTITIES - 1)
    simulate_day(world, engine, few, tables, SUNDAY)

    measured = figures(world, engine, params, SUNDAY)

    assert (measured["prediction_psi"], measured["feature_psi"]) == (None, None)
    assert measured["request_only_share"] is not None
