"""The operational tables: what goes in comes out, aware of time zones, and never under another meaning."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from random import Random

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from ontime import database, database_tables, online_store, schema
from ontime.database import DatabaseRefused
from ontime.declaration import Question
from ontime.driver_connection import DriverConnection
from ontime.problem import PROBLEM
from tests.postgres import DATABASES

QUESTION = Question(label_at_least=15, lead_minutes=120)
MOMENT = datetime(2013, 11, 5, 8, 15, tzinfo=UTC)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Every test of this file runs on both databases."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_server").new_database())
    return f"sqlite:///{tmp_path}/made/on/demand.db"


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    connected = database.connect(url)
    yield connected
    connected.dispose()


Target = sa.Engine | DriverConnection


@pytest.fixture(params=("engine", "driver"))
def target(request: pytest.FixtureRequest, engine: sa.Engine) -> Iterator[Target]:
    """What requests need works through SQLAlchemy and on the driver's own connection."""
    connection = DriverConnection(engine)
    yield engine if request.param == "engine" else connection
    connection.close()


def vectors(*firsts: float) -> np.ndarray:
    rows = np.full((len(firsts), len(schema.ONLINE)), np.nan, np.float32)
    rows[:, 0] = firsts
    return rows


def test_a_new_database_may_be_connected_to_by_many_at_once(url: str) -> None:
    """Their tables are created once, whoever comes first."""
    with ThreadPoolExecutor(8) as threads:
        engines = list(threads.map(database.connect, [url] * 8))

    names = [set(sa.inspect(each).get_table_names()) for each in engines]
    assert names == [set(database_tables.metadata.tables)] * 8
    for each in engines:
        each.dispose()


def test_features_come_back_bit_for_bit(engine: sa.Engine, target: Target) -> None:
    stored = np.random.default_rng(1).normal(size=(2, len(schema.ONLINE))).astype(np.float32)

    online_store.store_features(engine, QUESTION, ["a", "b"], [MOMENT, MOMENT], stored)

    result = online_store.look_up_features(target, QUESTION, ["b", "a", "unknown"])
    assert result.keys() == {"a", "b"}
    np.testing.assert_array_equal(result["b"].online.vector, stored[1])


def test_categories_that_are_known_at_the_moment_come_back_beside_the_numbers(
    engine: sa.Engine, target: Target
) -> None:
    texts = [{"kind": "snow"}, {}]

    online_store.store_features(engine, QUESTION, ["a", "b"], [MOMENT, MOMENT], vectors(1, 2), texts)

    result = online_store.look_up_features(target, QUESTION, ["a", "b"])
    assert [result[entity].online.texts for entity in ("a", "b")] == texts


def test_a_flight_that_is_materialised_again_is_replaced(engine: sa.Engine, target: Target) -> None:
    online_store.store_features(engine, QUESTION, ["a"], [MOMENT], vectors(1))
    online_store.store_features(engine, QUESTION, ["a"], [MOMENT + timedelta(hours=1)], vectors(2))

    result = online_store.look_up_features(target, QUESTION, ["a"])["a"]

    assert (result.online.vector[0], result.moment) == (2, MOMENT + timedelta(hours=1))


def test_a_moment_comes_back_in_utc_whatever_its_offset_was(engine: sa.Engine, target: Target) -> None:
    local = MOMENT.astimezone(timezone(timedelta(hours=-5)))
    online_store.store_features(engine, QUESTION, ["a"], [local], vectors(1))

    result = online_store.look_up_features(target, QUESTION, ["a"])["a"].moment

    assert (result, result.utcoffset()) == (MOMENT, timedelta(0))


def test_the_vectors_of_another_feature_set_are_not_seen(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    online_store.store_features(engine, QUESTION, ["a"], [MOMENT], vectors(1))

    monkeypatch.setattr(online_store, "FEATURE_SET", "of other features")

    assert online_store.look_up_features(engine, QUESTION, ["a"]) == {}


def test_the_vectors_of_another_question_are_kept_beside(engine: sa.Engine, target: Target) -> None:
    """After a rollback to a release that calls other flights late, its own features must be there, and only they."""
    later = Question(30, QUESTION.lead_minutes)
    online_store.store_features(engine, QUESTION, ["a"], [MOMENT], vectors(1))
    online_store.store_features(engine, later, ["a"], [MOMENT], vectors(2))

    result = [online_store.look_up_features(target, each, ["a"])["a"].online.vector for each in (QUESTION, later)]

    assert [vector.tobytes() for vector in result] == [vectors(1)[0].tobytes(), vectors(2)[0].tobytes()]
    assert online_store.look_up_features(target, Question(15, 180), ["a"]) == {}


def test_storing_nothing_is_no_error(engine: sa.Engine, target: Target) -> None:
    online_store.store_features(engine, QUESTION, [], [], vectors())

    assert online_store.look_up_features(target, QUESTION, []) == {}


def test_the_last_decision_is_that_about_the_same_model(engine: sa.Engine) -> None:
    for pipeline, verdict in (("x", "reject"), ("y", "reject"), ("x", "promote")):
        database.record_decision(engine, "gate", verdict, {"pipeline": pipeline})

    decided = database.last_decision(engine, "gate", pipeline="x")

    assert decided is not None
    assert decided.verdict == "promote"
    assert database.last_decision(engine, "gate", pipeline="z") is None


@pytest.mark.parametrize(("kind", "old", "new"), [("gate", "keep", "reject"), ("monitor", "calm", "ok")])
def test_a_verdict_stored_under_its_old_name_is_read_under_the_new_one(
    engine: sa.Engine, kind: str, old: str, new: str
) -> None:
    database.record_decision(engine, kind, old, {"version": "2"})
    database.record_decision(engine, "another kind", old, {})

    last = database.last_decision(engine, kind, version="2")

    assert last is not None
    assert last.verdict == new
    assert [row.verdict for row in database.decisions_of(engine, kind)] == [new]
    assert [row.verdict for row in database.latest_decisions(engine, 2)] == [old, new]


PREDICTION = {
    "prediction_id": "1",
    "entity_id": "a",
    "answered_at": MOMENT,
    "model_version": "1",
    "probability": 0.5,
    "alert": True,
    "features": "online",
    "vector": b"\x00\x01",
    "latency_ms": 1.0,
}


def predictions_in(engine: sa.Engine) -> list[dict[str, object]]:
    with engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(sa.select(database_tables.predictions))]


def test_a_logged_prediction_is_there_for_another_connection_as_it_was(engine: sa.Engine, target: Target) -> None:
    database.log_predictions(target, [PREDICTION])

    other = database.connect(engine.url.render_as_string(hide_password=False))
    assert predictions_in(other) == [PREDICTION]
    other.dispose()


def test_a_prediction_cannot_be_logged_twice(target: Target) -> None:
    database.log_predictions(target, [PREDICTION])

    with pytest.raises(sa.exc.IntegrityError):
        database.log_predictions(target, [PREDICTION])


def test_predictions_are_logged_all_or_none(engine: sa.Engine, target: Target) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        database.log_predictions(target, [PREDICTION, PREDICTION])

    assert predictions_in(engine) == []


def test_a_prediction_that_is_there_already_stays_as_it_is(engine: sa.Engine, target: Target) -> None:
    database.log_predictions(target, [PREDICTION])

    database.restore_predictions(engine, [{**PREDICTION, "alert": False}, {**PREDICTION, "prediction_id": "2"}])

    assert predictions_in(engine) == [PREDICTION, {**PREDICTION, "prediction_id": "2"}]


def test_after_an_error_the_next_statement_succeeds(engine: sa.Engine, target: Target) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        database.log_predictions(target, [PREDICTION, PREDICTION])

    database.log_predictions(target, [PREDICTION])

    assert predictions_in(engine) == [PREDICTION]


def test_a_connection_that_was_closed_is_opened_again(engine: sa.Engine) -> None:
    connection = DriverConnection(engine)
    database.log_predictions(connection, [PREDICTION])

    connection.close()
    database.log_predictions(connection, [{**PREDICTION, "prediction_id": "2"}])
    connection.close()

    assert [row["prediction_id"] for row in predictions_in(engine)] == [PREDICTION["prediction_id"], "2"]


def test_a_thousand_predictions_are_one_statement(engine: sa.Engine, target: Target) -> None:
    rows = [{**PREDICTION, "prediction_id": f"{number:04}"} for number in range(1000)]

    database.log_predictions(target, rows)

    assert predictions_in(engine) == rows


def test_prediction_ids_are_in_the_order_of_time() -> None:
    ids = [each for _ in range(200) for each in database.new_prediction_ids(5)]

    assert [each[:16] for each in ids] == sorted(each[:16] for each in ids)
    assert len(set(ids)) == 1000
    assert {len(each) for each in ids} == {32}


@given(
    outcomes=st.lists(
        st.tuples(st.booleans(), st.integers(0, 3), st.none() | st.integers(-2, 2)), min_size=1, max_size=6
    ),
    order=st.randoms(use_true_random=False),
)
@pytest.mark.slow
def test_outcomes_converge_in_whatever_order_they_come(
    outcomes: list[tuple[bool, int, int | None]], order: Random
) -> None:
    rows = [
        {"entity_id": "a", "label": label, "known_at": MOMENT + timedelta(hours=hours), "value": value}
        for label, hours, value in outcomes
    ]
    shuffled = order.sample(rows, len(rows))
    stored = []
    for sequence in (rows, shuffled):
        engine = database.connect("sqlite://")
        for row in sequence:
            database.store_outcomes(engine, [row])
        stored.append(database.outcome_of(engine, "a", 1))

    assert stored[0] == stored[1]


def outcome(label: bool, value: float | None = None) -> dict[str, object]:
    return {"entity_id": "a", "label": label, "known_at": MOMENT, "value": value}


def test_an_outcome_that_comes_again_with_its_value_gets_it(engine: sa.Engine) -> None:
    database.store_outcomes(engine, [outcome(label=True)])
    database.store_outcomes(engine, [outcome(label=False, value=20)])
    database.store_outcomes(engine, [outcome(label=True)])

    result = database.outcome_of(engine, "a", label_at_least=30)

    assert result is not None
    assert (result.label, result.value, result.known_at) == (False, 20, MOMENT)


def test_a_database_of_an_earlier_version_is_refused_with_what_to_do_and_keeps_its_rows(engine: sa.Engine) -> None:
    database.store_outcomes(engine, [outcome(label=True)])
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE outcomes DROP COLUMN value")

    words = (
        "its table outcomes has no value: it was made for another problem than flights, .* or set ONTIME_DATABASE_URL"
    )
    with pytest.raises(DatabaseRefused, match=words) as refused:
        database.connect(engine.url.render_as_string(hide_password=False))

    assert engine.url.password is None or engine.url.password not in str(refused.value)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT entity_id FROM outcomes").scalars().all() == ["a"]


def test_the_latest_moment_is_found_whatever_the_lead(engine: sa.Engine) -> None:
    question = Question(label_at_least=15, lead_minutes=5 * 24 * 60)
    events = [MOMENT + timedelta(days=5), MOMENT + timedelta(days=6)]
    rows = [
        {**PROBLEM.examples["a morning flight"], "entity_id": name, "event_at": at,
         "scheduled_departure": at, "scheduled_arrival": at}
        for name, at in zip("ab", events, strict=True)
    ]  # fmt: skip
    online_store.store_entities(engine, rows)
    online_store.store_features(engine, question, ["a", "b"], [MOMENT, MOMENT + timedelta(days=1)], vectors(1, 2))

    assert online_store.last_moment(engine, question, MOMENT + timedelta(hours=1)) == MOMENT
    assert online_store.last_moment(engine, question, MOMENT + timedelta(days=2)) == MOMENT + timedelta(days=1)


def test_a_database_that_needs_a_field_that_no_request_has_any_more_is_refused_by_name(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE entities RENAME COLUMN carrier TO airline")
        connection.exec_driver_sql("ALTER TABLE entities ADD COLUMN carrier VARCHAR")

    with pytest.raises(DatabaseRefused, match="its table entities needs airline, which nothing fills any more: it was"):
        database.prepare(engine)


def test_a_column_of_others_that_may_be_empty_or_has_a_default_is_no_reason_to_refuse(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE outcomes ADD COLUMN remark VARCHAR")
        connection.exec_driver_sql("ALTER TABLE outcomes ADD COLUMN checked INTEGER DEFAULT 0 NOT NULL")

    database.prepare(engine)
    database.store_outcomes(engine, [outcome(label=True)])

    assert database.outcome_of(engine, "a", label_at_least=30) is not None


@pytest.mark.parametrize(("most", "count"), [(1, 1), (2, 2), (9, 3)])
def test_known_outcomes_are_counted_up_to_a_number(most: int, count: int, engine: sa.Engine) -> None:
    keys = ["a", "b", "c", "unlabelled"]
    day = timedelta(days=1)
    example = PROBLEM.request.model_validate(next(iter(PROBLEM.examples.values()))).model_dump()
    online_store.store_entities(engine, [{**example, "entity_id": key, "event_at": MOMENT} for key in keys])
    database.store_outcomes(engine, [{"entity_id": key, "label": True, "known_at": MOMENT} for key in keys[:3]])

    assert database.count_outcomes(engine, MOMENT, MOMENT, most) == count
    assert database.count_outcomes(engine, MOMENT + day, MOMENT, most) == 0
    assert database.count_outcomes(engine, MOMENT, MOMENT - day, most) == 0


def test_earlier_decisions_are_the_latest_before_a_moment(engine: sa.Engine) -> None:
    for day in (1, 4, 2, 3):  # a missed day is decided later
        database.record_decision(engine, "monitor", "ok", {"day": day}, MOMENT + timedelta(days=day))
    database.record_decision(engine, "policy", "nothing", {"day": 2}, MOMENT + timedelta(days=2))

    rows = database.decisions_before(engine, "monitor", MOMENT + timedelta(days=4), most=2)

    assert [row.evidence["day"] for row in rows] == [2, 3]


def test_decisions_of_a_verdict_are_read_by_its_present_name(engine: sa.Engine) -> None:
    for verdict in ("calm", "alert", "ok"):
        database.record_decision(engine, "monitor", verdict, {"stored": verdict})

    rows = database.decisions_of(engine, "monitor", verdict="ok")

    assert [row.evidence["stored"] for row in rows] == ["calm", "ok"]
