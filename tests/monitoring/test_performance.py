"""Performance from a real database: what counts, what is not known yet, and what is left out."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from monitoring import performance
from ontime import database, evaluation, online_store, schema
from ontime.declaration import Question
from ontime.params import Params
from ontime.release import Manifest, ReleaseRefused

NOON = datetime(2013, 7, 1, 16, tzinfo=UTC)  # in New York
LANDED = timedelta(hours=4)  # after a departure
LATER = NOON + timedelta(days=60)
VECTOR = np.arange(3, dtype="<f4").tobytes()
SEED = 7
AT_LEAST = 15


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    connected = database.connect(f"sqlite:///{tmp_path}/ontime.db")
    yield connected
    connected.dispose()


def schedule(engine: sa.Engine, *departures: datetime, **changed: Any) -> list[str]:
    """Put flights into the timetable; their keys."""
    rows = [
        {
            "entity_id": f"UA{number}-EWR-{departure:%Y%m%dT%H%MZ}",
            "event_at": departure,
            "carrier": "UA",
            "flight_number": number,
            "origin": "EWR",
            "dest": "ORD",
            "scheduled_departure": departure,
            "scheduled_arrival": departure + timedelta(hours=3),
            "distance_miles": 719,
            **changed,
        }
        for number, departure in enumerate(departures, start=1)
    ]
    online_store.store_entities(engine, rows)
    return [row["entity_id"] for row in rows]


def answer(
    engine: sa.Engine, entity_ids: Sequence[str], probabilities: Sequence[float], version: str = "1", round_: int = 1
) -> list[str]:
    """Log a prediction for each flight; their ids. Those of a later round come after all of an earlier one."""
    rows = [
        {
            "prediction_id": f"{round_}-{number:06}",
            "entity_id": entity_id,
            "answered_at": NOON,
            "model_version": version,
            "probability": probability,
            "alert": probability >= 0.25,
            "features": "online",
            "vector": VECTOR,
            "latency_ms": 1.0,
        }
        for number, (entity_id, probability) in enumerate(zip(entity_ids, probabilities, strict=True))
    ]
    for start in range(0, len(rows), 500):
        database.log_predictions(engine, rows[start : start + 500])
    return [str(row["prediction_id"]) for row in rows]


def land(engine: sa.Engine, entity_ids: Sequence[str], late: Sequence[bool], known_at: datetime = NOON) -> None:
    rows = [
        {"entity_id": key, "label": bool(each), "known_at": known_at}
        for key, each in zip(entity_ids, late, strict=True)
    ]
    database.store_outcomes(engine, rows)


def answers(engine: sa.Engine, known_by: datetime = LATER, *, vectors: bool = False) -> pd.DataFrame:
    return performance.predictions_with_outcomes(
        engine, NOON - timedelta(days=30), LATER, AT_LEAST, known_by, vectors=vectors
    )


def vector(**values: float) -> bytes:
    """A model's input with these values; all others are missing."""
    row = np.full(len(schema.FEATURE_NAMES), np.nan, "<f4")
    for name, value in values.items():
        row[schema.FEATURE_NAMES.index(name)] = value
    return row.tobytes()


def synthetic(days: int = 2, flights: int = 500, sharpness: float = 1.0) -> pd.DataFrame:
    """Rows as `answers` returns them, with calibrated probabilities, or over-confident ones for a sharpness above 1."""
    rng = np.random.default_rng(SEED)
    truth = rng.uniform(0.05, 0.6, days * flights)
    odds = sharpness * np.log(truth / (1 - truth))
    return pd.DataFrame(
        {
            "day": np.repeat(pd.date_range("2013-07-01", periods=days), flights),
            "label": pd.array(rng.random(days * flights) < truth, dtype="boolean"),
            "probability": 1 / (1 + np.exp(-odds)),
            "model_version": "1",
            "alert": odds > np.log(1 / 3),
            "origin": np.tile(["EWR", "JFK"], days * flights // 2),
            "carrier": "UA",
            "distance_miles": 700,
            "vector": vector(departure_minute=600, distance_miles=700),
        }
    )


def test_before_any_outcome_nothing_is_measured(engine: sa.Engine, params: Params) -> None:
    answer(engine, schedule(engine, NOON, NOON), [0.2, 0.6])

    measured = performance.summarise(answers(engine), params)

    assert measured == performance.Performance(entities=2, labelled=0)
    assert measured.as_json()["note"] == "no outcome is known yet, so nothing is measured"
    assert (measured.scores, measured.loss_excess, measured.label_coverage) == (None, None, 0.0)


def test_without_predictions_the_results_are_empty(engine: sa.Engine, params: Params) -> None:
    schedule(engine, NOON)

    rows = answers(engine, vectors=True)

    assert rows.empty
    assert performance.summarise(rows, params).as_json()["label_coverage"] == 0.0
    assert performance.by_day(rows, params) == {}
    assert performance.out_of_sample(rows, {}).empty


def test_a_flight_without_prediction_is_not_measured(engine: sa.Engine) -> None:
    requested, ignored = schedule(engine, NOON, NOON)
    answer(engine, [requested], [0.2])
    land(engine, [requested, ignored], [True, True])

    assert answers(engine)["entity_id"].tolist() == [requested]


def test_the_last_prediction_of_a_flight_counts(engine: sa.Engine) -> None:
    flights = schedule(engine, NOON, NOON)
    answer(engine, flights, [0.2, 0.3], round_=1)
    answer(engine, flights[:1], [0.6], version="2", round_=2)

    rows = answers(engine).set_index("entity_id")

    assert rows["probability"].to_dict() == dict(zip(flights, [0.6, 0.3], strict=True))
    assert rows["model_version"].to_dict() == dict(zip(flights, ["2", "1"], strict=True))


@pytest.mark.parametrize(("seconds", "labelled"), [(-1, 0), (0, 1), (1, 1)])
def test_an_outcome_is_invisible_until_it_is_known(
    seconds: int, labelled: int, engine: sa.Engine, params: Params
) -> None:
    flights = schedule(engine, NOON)
    answer(engine, flights, [0.2])
    land(engine, flights, [True], known_at=NOON + LANDED)

    rows = answers(engine, known_by=NOON + LANDED + timedelta(seconds=seconds))

    assert performance.summarise(rows, params).labelled == labelled


def test_a_flight_belongs_to_the_day_on_new_yorks_calendar(engine: sa.Engine) -> None:
    half_past_eleven = datetime(2013, 7, 2, 3, 30, tzinfo=UTC)
    answer(engine, schedule(engine, half_past_eleven), [0.2])

    (row,) = answers(engine).to_dict("records")

    assert (row["day"], row["event_at"]) == (pd.Timestamp("2013-07-01"), half_past_eleven)


def test_a_window_begins_with_its_first_moment_and_ends_before_its_last(engine: sa.Engine) -> None:
    hour = timedelta(hours=1)
    flights = schedule(engine, NOON - hour, NOON, NOON + hour, NOON + 2 * hour)
    answer(engine, flights, [0.2] * 4)

    rows = performance.predictions_with_outcomes(engine, NOON, NOON + 2 * hour, AT_LEAST)

    assert sorted(rows["entity_id"]) == sorted(flights[1:3])


def test_the_models_input_is_returned_on_request_only(engine: sa.Engine) -> None:
    answer(engine, schedule(engine, NOON), [0.2])

    assert answers(engine, vectors=True)["vector"].tolist() == [VECTOR]
    assert "vector" not in answers(engine)


def test_a_flight_that_its_model_was_trained_on_is_left_out(engine: sa.Engine) -> None:
    days = [NOON + timedelta(days=number) for number in range(3)]
    flights = schedule(engine, *days, *days)
    answer(engine, flights[:3], [0.2] * 3, version="1", round_=1)
    answer(engine, flights[3:], [0.2] * 3, version="2", round_=2)

    rows = performance.out_of_sample(answers(engine), {"1": date(2013, 7, 2), "2": date(2013, 7, 3)})

    assert sorted(rows["entity_id"]) == sorted([*flights[1:3], flights[5]])


def test_predictions_of_a_release_that_is_gone_are_refused_by_name(engine: sa.Engine) -> None:
    answer(engine, schedule(engine, NOON), [0.2], version="7")

    with pytest.raises(KeyError, match="predictions of release 7, which is no longer published"):
        performance.out_of_sample(answers(engine), {"1": date(2013, 7, 2)})


def test_the_metrics_are_those_of_evaluation_on_the_labelled_flights(engine: sa.Engine, params: Params) -> None:
    rng = np.random.default_rng(SEED)
    probabilities = np.round(rng.uniform(0.05, 0.6, 40), 3)
    late = rng.random(40) < probabilities
    flights = schedule(engine, *[NOON] * 50)
    answer(engine, flights, [*probabilities, *[0.9] * 10])  # ten of them never arrive
    land(engine, flights[:40], late.tolist())

    measured = performance.summarise(answers(engine), params)

    alert = probabilities >= 0.25
    assert measured.scores == evaluation.scores(late, probabilities, params.cost)
    assert (measured.entities, measured.labelled, measured.label_coverage) == (50, 40, 0.8)
    assert measured.positive_rate == round(late.mean(), 4)
    assert measured.predicted_rate == round(probabilities.mean(), 4)
    assert measured.alert_precision == round((late & alert).sum() / alert.sum(), 4)
    assert measured.alert_recall == round((late & alert).sum() / late.sum(), 4)
    assert "note" not in measured.as_json()


@pytest.mark.parametrize(("late", "recall"), [(True, 0.5), (False, None)])
def test_flights_that_all_end_alike_have_rates_but_no_scores(late: bool, recall: float | None, params: Params) -> None:
    rows = synthetic(flights=2).assign(label=pd.array([late] * 4, dtype="boolean"), alert=[True, True, False, False])

    measured = performance.summarise(rows, params, with_intervals=True)

    assert (measured.positive_rate, measured.alert_precision, measured.alert_recall) == (
        float(late),
        float(late),
        recall,
    )
    assert (measured.scores, measured.intervals) == (None, None)


def test_calibrated_probabilities_lose_what_they_expect_to_lose(params: Params) -> None:
    excess = performance.summarise(synthetic(flights=20_000), params).loss_excess

    assert excess == pytest.approx(0, abs=0.01)


def test_over_confident_probabilities_lose_more_than_they_expect(params: Params) -> None:
    excess = performance.summarise(synthetic(flights=20_000, sharpness=2.0), params).loss_excess

    assert excess is not None
    assert excess > 0.03


@pytest.mark.parametrize(("days", "there"), [(1, False), (2, True)])
def test_an_interval_by_days_needs_two_of_them(days: int, there: bool, params: Params) -> None:
    measured = performance.summarise(synthetic(days), params, with_intervals=True)

    assert (measured.intervals is not None) is there
    assert measured.scores is not None


def test_an_interval_holds_its_score(params: Params) -> None:
    measured = performance.summarise(synthetic(days=10), params, with_intervals=True)

    assert measured.intervals is not None
    assert measured.scores is not None
    assert all(low < measured.scores[name] < high for name, (low, high) in measured.intervals.items())


def test_groups_are_the_month_the_version_and_each_slice(params: Params) -> None:
    rows = synthetic(days=2, flights=100)
    rows = rows.assign(
        day=np.repeat(pd.to_datetime(["2013-07-31", "2013-08-01"]), 100), model_version=np.repeat(["1", "2"], 100)
    )

    groups = performance.by_group(rows, params, categories={})

    sizes = {
        dimension: {name: group.entities for name, group in members.items()} for dimension, members in groups.items()
    }
    assert sizes == {
        "origin": {"EWR": 100, "JFK": 100},
        "carrier": {"UA": 200},
        "hour": {"09:00-13:59": 200},
        "distance": {"500-999 mi": 200},
        "month": {"2013-07": 100, "2013-08": 100},
        "version": {"1": 100, "2": 100},
    }
    jfk = rows[rows["origin"] == "JFK"]
    assert groups["origin"]["JFK"] == performance.summarise(jfk, params, with_intervals=True)
    assert groups["origin"]["JFK"].intervals is not None


def test_a_slice_comes_from_the_request_or_else_from_the_models_input() -> None:
    """A new airline has its code in the request and no value in the model's input; the hour is in the input alone."""
    rows = synthetic(days=1, flights=2).assign(carrier="ZZ", vector=vector(carrier=np.nan, departure_minute=23.5 * 60))

    rows = performance.with_slice_features(rows, {"1": {"carrier": ["UA"]}})

    assert rows["carrier"].tolist() == ["ZZ", "ZZ"]
    assert rows["departure_minute"].tolist() == [23.5 * 60] * 2


def test_a_number_comes_from_the_feature_though_a_field_has_its_name() -> None:
    kilometres = synthetic(days=1, flights=2).assign(distance_miles=1127, vector=vector(distance_miles=700))

    rows = performance.with_slice_features(kilometres, {"1": {"carrier": ["UA"]}})

    assert rows["distance_miles"].tolist() == [700, 700]


def test_a_category_without_a_field_is_decoded_with_the_codes_of_its_model() -> None:
    vectors = [vector(carrier=0), vector(carrier=0), vector(carrier=1), vector(carrier=np.nan)]
    rows = (
        synthetic(days=1, flights=4).drop(columns="carrier").assign(vector=vectors, model_version=["1", "2", "2", "2"])
    )

    rows = performance.with_slice_features(rows, {"1": {"carrier": ["AA", "UA"]}, "2": {"carrier": ["B6", "DL"]}})

    assert rows["carrier"].tolist() == ["AA", "B6", "DL", "unknown"]


def test_each_day_is_measured_separately_and_converts_to_json(params: Params) -> None:
    rows = synthetic(days=2, flights=100)
    rows.loc[rows["day"] == "2013-07-02", "label"] = pd.NA

    days = {day: measured.as_json() for day, measured in performance.by_day(rows, params).items()}

    read = json.loads(json.dumps(days))
    assert {day: (each["entities"], each["labelled"]) for day, each in read.items()} == {
        "2013-07-01": (100, 100),
        "2013-07-02": (100, 0),
    }


def released(version: str, trained_until: date = date(2013, 6, 1), label_at_least: int = AT_LEAST) -> Manifest:
    """The part of a release's manifest that a comparison needs."""
    fields: dict[str, Any] = {"version": version, "trained_until": trained_until}
    return Manifest.model_construct(**fields, label_at_least=label_at_least, lead_minutes=120)


def shadow(engine: sa.Engine, prediction_ids: Sequence[str], probabilities: Sequence[float], version: str) -> None:
    rows = [
        {"prediction_id": key, "model_version": version, "probability": probability}
        for key, probability in zip(prediction_ids, probabilities, strict=True)
    ]
    database.log_shadows(engine, rows)


def test_a_pair_is_by_role_whichever_model_was_live(engine: sa.Engine) -> None:
    by_champion, by_challenger = schedule(engine, NOON, NOON)
    shadow(engine, answer(engine, [by_champion], [0.1], version="1", round_=1), [0.2], version="2")
    shadow(engine, answer(engine, [by_challenger], [0.4], version="2", round_=2), [0.3], version="1")
    land(engine, [by_champion, by_challenger], [False, True])

    pairs = performance.paired_predictions(engine, released("1"), released("2"))

    assert pairs[["champion", "challenger", "canary", "label"]].values.tolist() == [
        [0.1, 0.2, False, False],
        [0.3, 0.4, True, True],
    ]
    swapped = performance.paired_predictions(engine, released("2"), released("1"))
    assert swapped[["champion", "challenger", "canary"]].values.tolist() == [[0.2, 0.1, True], [0.4, 0.3, False]]


def test_a_pair_needs_an_outcome_and_both_models(engine: sa.Engine) -> None:
    whole, unknown, alone, other = schedule(engine, *[NOON] * 4)
    shadow(engine, answer(engine, [whole, unknown], [0.1, 0.1], round_=1), [0.2, 0.2], version="2")
    answer(engine, [alone], [0.1], round_=2)
    shadow(engine, answer(engine, [other], [0.1], round_=3), [0.2], version="3")
    land(engine, [whole, alone, other], [True] * 3)

    assert len(performance.paired_predictions(engine, released("1"), released("2"))) == 1


def test_the_last_pair_of_a_flight_counts(engine: sa.Engine) -> None:
    flights = schedule(engine, NOON)
    for round_, probability in ((1, 0.1), (2, 0.5)):
        shadow(engine, answer(engine, flights, [probability], round_=round_), [probability + 0.1], version="2")
    land(engine, flights, [True])

    assert performance.paired_predictions(engine, released("1"), released("2"))["champion"].tolist() == [0.5]


def test_a_pair_is_invisible_until_its_outcome_is_known(engine: sa.Engine) -> None:
    flights = schedule(engine, NOON, NOON + timedelta(days=1))
    shadow(engine, answer(engine, flights, [0.1, 0.1]), [0.2, 0.2], version="2")
    land(engine, flights[:1], [True], known_at=NOON + LANDED)
    land(engine, flights[1:], [True], known_at=NOON + timedelta(days=1) + LANDED)

    pairs = performance.paired_predictions(engine, released("1"), released("2"), known_by=NOON + timedelta(days=1))

    assert pairs["day"].tolist() == [pd.Timestamp("2013-07-01")]
    assert len(performance.paired_predictions(engine, released("1"), released("2"))) == 2


def test_the_interval_of_a_pair_is_above_zero_where_the_challenger_is_worse() -> None:
    rows = synthetic(days=10)
    pairs = rows.assign(champion=rows["probability"], challenger=1 - rows["probability"])

    difference = performance.loss_difference(pairs)

    assert difference is not None
    assert 0 < difference.low < difference.value < difference.high


def test_one_day_has_no_interval() -> None:
    pairs = synthetic(days=1).assign(champion=0.5, challenger=0.4)

    assert performance.loss_difference(pairs) is None


def test_a_flight_that_either_model_was_trained_on_is_left_out(engine: sa.Engine) -> None:
    flights = schedule(engine, NOON, NOON + timedelta(days=1))
    shadow(engine, answer(engine, flights, [0.1, 0.1]), [0.2, 0.2], version="2")
    land(engine, flights, [True, True])

    pairs = performance.paired_predictions(engine, released("1"), released("2", trained_until=date(2013, 7, 2)))

    assert pairs["day"].tolist() == [pd.Timestamp("2013-07-02")]


def test_two_releases_with_different_questions_are_not_compared(engine: sa.Engine) -> None:
    words = "release 2 predicts arriving 30 minutes late or more.*release 1 predicts arriving 15 minutes late or more"

    with pytest.raises(ReleaseRefused, match=words):
        performance.paired_predictions(engine, released("1"), released("2", label_at_least=30))


def test_predictions_for_another_question_do_not_count(engine: sa.Engine) -> None:
    flights = schedule(engine, NOON, NOON)
    answer(engine, flights[:1], [0.2], version="1", round_=1)
    answer(engine, flights[1:], [0.2], version="2", round_=2)

    rows = performance.with_question(
        answers(engine), Question(30, 120), {"1": Question(15, 120), "2": Question(30, 120)}
    )

    assert rows["model_version"].tolist() == ["2"]


def test_if_the_delay_is_known_the_question_defines_late(engine: sa.Engine) -> None:
    early, delayed, unknown_delay = schedule(engine, *[NOON] * 3)
    answer(engine, [early, delayed, unknown_delay], [0.2] * 3)
    rows = [
        {"entity_id": key, "label": late, "known_at": NOON, "value": delay}
        for key, late, delay in ((early, False, -12), (delayed, True, 20), (unknown_delay, True, None))
    ]
    database.store_outcomes(engine, rows)

    by_rule = {
        minutes: performance.predictions_with_outcomes(engine, NOON, LATER, minutes).set_index("entity_id")["label"]
        for minutes in (15, 30)
    }

    assert by_rule[15].to_dict() == {early: False, delayed: True, unknown_delay: True}
    assert by_rule[30].to_dict() == {early: False, delayed: False, unknown_delay: True}


def test_without_predictions_no_model_has_unseen_categories(engine: sa.Engine) -> None:
    rows = performance.predictions_with_outcomes(engine, NOON, LATER, AT_LEAST)

    assert performance.out_of_sample(rows, {}).empty
