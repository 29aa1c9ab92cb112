"""Conformal sets: as often right as asked where flights are alike, and the measure that says where they are not."""

import numpy as np
import pandas as pd

from ontime import conformal
from ontime.conformal import CONFIDENCE, Answered, Sets
from pipelines import replay_report


def answered(flights: int, seed: int, group: str = "morning") -> tuple[Answered, np.ndarray]:
    """Probabilities that are right, and what happened."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(1, 3, flights)
    return Answered(probability, np.full(flights, group)), rng.random(flights) < probability


def test_flights_of_one_kind_are_covered_as_often_as_asked() -> None:
    calibration, calibration_late = answered(4000, 1)
    asked, late = answered(4000, 2)

    sets = conformal.prediction_sets(calibration, calibration_late, asked)

    assert abs(sets.late[late].mean() - CONFIDENCE) < 0.03
    assert abs(sets.on_time[~late].mean() - CONFIDENCE) < 0.03


def test_each_group_is_calibrated_by_itself() -> None:
    sharp, sharp_late = answered(4000, 1)
    blind = Answered(np.full(4000, 0.25), np.full(4000, "evening"))
    both = Answered(*(np.concatenate(pair) for pair in zip(sharp, blind, strict=True)))
    late = np.concatenate([sharp_late, np.random.default_rng(3).random(4000) < 0.25])

    sets = conformal.prediction_sets(both, late, both)

    evening = both.group == "evening"
    assert (sets.late & sets.on_time)[evening].all()
    assert abs(sets.late[~evening & late].mean() - CONFIDENCE) < 0.03


def test_a_group_without_calibration_flights_rules_nothing_out() -> None:
    calibration, late = answered(400, 1)
    asked, _ = answered(10, 2, group="night")

    sets = conformal.prediction_sets(calibration, late, asked)

    assert (sets.late & sets.on_time).all()


def test_the_coverage_counts_each_label_by_itself() -> None:
    late = np.array([True, True, False, False])
    sets = Sets(on_time=np.array([True, True, True, False]), late=np.array([True, False, True, True]))
    days = np.array(["2013-11-01", "2013-11-02"] * 2, dtype="datetime64[D]")

    (row,) = conformal.coverage(late, sets, days, pd.DataFrame({"origin": ["EWR"] * 4}))

    assert (row["cut"], row["slice"], row["flights"], row["both"]) == ("origin", "EWR", 4, 0.5)
    assert row["late_covered"][0] == 0.5
    assert row["on_time_covered"][0] == 0.5


def test_the_control_tests_the_days_that_did_not_calibrate() -> None:
    flights, late = answered(4000, 1)
    days = np.datetime64("2013-09-01") + np.arange(4000) // 100

    (row,) = conformal.control(flights, late, days)

    assert row["flights"] == 2000
    assert abs(row["late_covered"][0] - CONFIDENCE) < 0.06


def test_a_replay_calibrates_each_month_on_the_one_before() -> None:
    told, late = answered(6000, 1)
    days = pd.Timestamp("2013-03-01") + pd.to_timedelta(np.arange(6000) // 100, "D")
    flights = pd.DataFrame(
        {"day": days, "origin": "EWR", "carrier": "UA", "departure_minute": 600.0, "distance_miles": 700.0}
    )
    sudden = late | np.asarray(days >= pd.Timestamp("2013-04-16"))  # from then on every flight is late

    rows = replay_report.coverage_by_month(
        replay_report.Lived(flights, pd.DataFrame(), sudden, {"living": told.probability})
    )

    assert [row["slice"] for row in rows] == ["2013-04"]
    assert rows[0]["late_covered"][0] < CONFIDENCE - 0.1
