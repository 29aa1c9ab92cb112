"""The operational tables: what goes in comes out, aware of time zones, and never under another meaning."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from ontime import database, schema

MOMENT = datetime(2013, 11, 5, 8, 15, tzinfo=UTC)


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return database.connect(f"sqlite:///{tmp_path}/made/on/demand.db")


def vectors(*firsts: float) -> np.ndarray:
    rows = np.full((len(firsts), len(schema.MATERIALISED)), np.nan, np.float32)
    rows[:, 0] = firsts
    return rows


def test_features_come_back_bit_for_bit(engine: sa.Engine) -> None:
    stored = np.random.default_rng(1).normal(size=(2, len(schema.MATERIALISED))).astype(np.float32)

    database.store_features(engine, ["a", "b"], [MOMENT, MOMENT], stored)

    found = database.look_up_features(engine, ["b", "a", "unknown"])
    assert found.keys() == {"a", "b"}
    np.testing.assert_array_equal(found["b"].vector, stored[1])


def test_a_flight_that_is_materialised_again_is_replaced(engine: sa.Engine) -> None:
    database.store_features(engine, ["a"], [MOMENT], vectors(1))
    database.store_features(engine, ["a"], [MOMENT + timedelta(hours=1)], vectors(2))

    found = database.look_up_features(engine, ["a"])["a"]

    assert (found.vector[0], found.moment) == (2, MOMENT + timedelta(hours=1))


def test_a_moment_comes_back_in_utc_whatever_its_offset_was(engine: sa.Engine) -> None:
    local = MOMENT.astimezone(timezone(timedelta(hours=-5)))
    database.store_features(engine, ["a"], [local], vectors(1))

    found = database.look_up_features(engine, ["a"])["a"].moment

    assert (found, found.utcoffset()) == (MOMENT, timedelta(0))


def test_the_vectors_of_another_feature_set_are_not_seen(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    database.store_features(engine, ["a"], [MOMENT], vectors(1))

    monkeypatch.setattr(database, "FEATURE_SET", "of other features")

    assert database.look_up_features(engine, ["a"]) == {}


def test_storing_nothing_is_no_error(engine: sa.Engine) -> None:
    database.store_features(engine, [], [], vectors())

    assert database.look_up_features(engine, []) == {}


def test_the_last_decision_is_that_about_the_same_model(engine: sa.Engine) -> None:
    for pipeline, verdict in (("x", "keep"), ("y", "keep"), ("x", "promote")):
        database.record_decision(engine, "gate", verdict, {"pipeline": pipeline})

    decided = database.last_decision(engine, "gate", "x")

    assert decided is not None
    assert decided.verdict == "promote"
    assert database.last_decision(engine, "gate", "z") is None


PREDICTION = {
    "prediction_id": "1",
    "flight_id": "a",
    "answered_at": MOMENT,
    "model_version": "1",
    "probability_late": 0.5,
    "alert": True,
    "features": "materialised",
    "vector": b"\x00\x01",
    "latency_ms": 1.0,
}


def predictions_in(engine: sa.Engine) -> list[dict[str, object]]:
    with engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(sa.select(database.predictions))]


def test_a_logged_prediction_is_there_for_another_connection_as_it_was(engine: sa.Engine) -> None:
    database.log_predictions(engine, [PREDICTION])

    assert predictions_in(sa.create_engine(engine.url)) == [PREDICTION]


def test_a_prediction_cannot_be_logged_twice(engine: sa.Engine) -> None:
    database.log_predictions(engine, [PREDICTION])

    with pytest.raises(sa.exc.IntegrityError):
        database.log_predictions(engine, [PREDICTION])


def test_predictions_are_logged_all_or_none(engine: sa.Engine) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        database.log_predictions(engine, [PREDICTION, PREDICTION])

    assert predictions_in(engine) == []
