"""Materialising is idempotent, quarantines broken batches, and detects skew between online store and training."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from ontime import database, database_tables, sources
from ontime.datasets import Tables
from ontime.declaration import Question
from ontime.params import Params
from ontime.settings import Settings
from pipelines.operations import materialise
from pipelines.operations.materialise import QuestionDiffers
from tests.production import verdicts

pytestmark = pytest.mark.slow

NOW = datetime(2013, 2, 20, 12, tzinfo=UTC)
BROKEN_AT = datetime(2013, 7, 10, 16, 0, tzinfo=UTC)


def noted(settings: Settings, rows: pd.DataFrame) -> list[dict[str, object]]:
    engine = database.connect(settings.database_url)
    materialise.record_skew(engine, Question(15, 120), rows, NOW)
    return [dict(row.evidence) for row in database.decisions_of(engine, "skew")]


def test_equal_features_are_not_skew(settings: Settings, stored: pd.DataFrame) -> None:
    assert noted(settings, stored) == []


def test_a_new_flight_is_not_skew(settings: Settings, stored: pd.DataFrame) -> None:
    assert noted(settings, stored.assign(entity_id="UA" + stored["entity_id"])) == []


def test_no_flights_are_not_skew(settings: Settings, stored: pd.DataFrame) -> None:
    assert noted(settings, stored[:0]) == []


def test_features_that_differ_from_the_stored_ones_are_counted(settings: Settings, stored: pd.DataFrame) -> None:
    changed = stored.copy()
    changed.loc[:9, "temp_f"] += 1

    (skew,) = noted(settings, changed)

    assert skew["reason"] == f"10 of {len(stored):,} flights were stored with other features"


def test_a_lead_that_the_release_was_not_trained_with_is_refused(settings: Settings, params: Params) -> None:
    sooner = params.model_copy(update={"features": params.features.model_copy(update={"lead_minutes": 30})})

    with pytest.raises(QuestionDiffers, match="lead_minutes is 30, but release 1 was trained with 120"):
        materialise.refuse_question_mismatch(settings, sooner)


def test_before_the_first_release_any_lead_may_be_materialised(settings: Settings, params: Params) -> None:
    materialise.refuse_question_mismatch(settings.model_copy(update={"releases": settings.releases / "none"}), params)


@pytest.fixture(scope="module")
def broken_feed(raw: Tables) -> Tables:
    """A feed whose pressure of July 9 is in inches of mercury."""
    part = sources.cut(raw, BROKEN_AT - timedelta(days=8), BROKEN_AT + timedelta(days=9))
    weather = part["weather"]
    pressure, ninth = weather["pressure_mb"], weather["local_hour"].dt.normalize() == "2013-07-09"
    return {**part, "weather": weather.assign(pressure_mb=pressure.mask(ninth, pressure * 0.02953))}


def step(settings: Settings, params: Params, feed: Tables, now: datetime) -> materialise.Materialised:
    return materialise.run(settings, params, now, lambda start, end: sources.cut(feed, start, end))


def test_a_broken_batch_is_quarantined_and_the_rest_is_materialised(
    world: Settings, engine: sa.Engine, params: Params, broken_feed: Tables
) -> None:
    result = step(world, params, broken_feed, BROKEN_AT)

    assert result.entities > 500
    assert "quarantined: 2013-07-09 weather" in str(result)
    assert verdicts(engine) == [("quarantine", "quarantined")]
    rows = pd.read_parquet(world.quarantine / "2013-07-09-weather.parquet")
    assert len(rows) == 72
    assert "weather.pressure_mb" in (world.quarantine / "2013-07-09-weather.txt").read_text()


def test_a_broken_batch_is_recorded_once(
    world: Settings, engine: sa.Engine, params: Params, broken_feed: Tables
) -> None:
    """The batch grows until the day is over; five days later the window of the feed has passed it."""
    for hours in (-24, -20, -11, 0, 0, 96, 114):
        step(world, params, broken_feed, BROKEN_AT + timedelta(hours=hours))

    assert verdicts(engine) == [("quarantine", "quarantined")]
    assert len(pd.read_parquet(world.quarantine / "2013-07-09-weather.parquet")) == 72


def rows_in(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return [connection.execute(sa.select(table).order_by(table.c.entity_id)).all() for table in (
            database_tables.entities, database_tables.features, database_tables.outcomes)]  # fmt: skip


def test_materialising_a_moment_twice_leaves_the_same_rows(
    world: Settings, engine: sa.Engine, params: Params, broken_feed: Tables
) -> None:
    step(world, params, broken_feed, BROKEN_AT)
    once = rows_in(engine)

    step(world, params, broken_feed, BROKEN_AT)

    assert rows_in(engine) == once
    assert all(once)
