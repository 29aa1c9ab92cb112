"""Conformal sets: as often right as asked where flights are alike, and the measure that says where they are not."""

import numpy as np
import pandas as pd
import pytest

from ontime import conformal, slices
from ontime.conformal import CONFIDENCE, GroupedProbabilities, PredictionSets


def answered(flights: int, seed: int, group: str = "morning") -> tuple[GroupedProbabilities, np.ndarray]:
    """Probabilities that are right, and what happened."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(1, 3, flights)
    return GroupedProbabilities(probability, np.full(flights, group)), rng.random(flights) < probability


def test_flights_of_one_kind_are_covered_as_often_as_asked() -> None:
    calibration, calibration_late = answered(4000, 1)
    predictions, late = answered(4000, 2)

    sets = conformal.prediction_sets(calibration, calibration_late, predictions)

    assert abs(sets.positive[late].mean() - CONFIDENCE) < 0.03
    assert abs(sets.negative[~late].mean() - CONFIDENCE) < 0.03


def test_each_group_is_calibrated_by_itself() -> None:
    sharp, sharp_late = answered(4000, 1)
    blind = GroupedProbabilities(np.full(4000, 0.25), np.full(4000, "evening"))
    both = GroupedProbabilities(*(np.concatenate(pair) for pair in zip(sharp, blind, strict=True)))
    late = np.concatenate([sharp_late, np.random.default_rng(3).random(4000) < 0.25])

    sets = conformal.prediction_sets(both, late, both)

    evening = both.group == "evening"
    assert (sets.positive & sets.negative)[evening].all()
    assert abs(sets.positive[~evening & late].mean() - CONFIDENCE) < 0.03


def test_a_group_without_calibration_flights_rules_nothing_out() -> None:
    calibration, late = answered(400, 1)
    predictions, _ = answered(10, 2, group="night")

    sets = conformal.prediction_sets(calibration, late, predictions)

    assert (sets.positive & sets.negative).all()


def test_the_coverage_counts_each_label_by_itself() -> None:
    late = np.array([True, True, False, False])
    sets = PredictionSets(negative=np.array([True, True, True, False]), positive=np.array([True, False, True, True]))
    days = np.array(["2013-11-01", "2013-11-02"] * 2, dtype="datetime64[D]")

    (row,) = conformal.coverage(late, sets, days, pd.DataFrame({"origin": ["EWR"] * 4}))

    assert (row["dimension"], row["slice"], row["entities"], row["both"]) == ("origin", "EWR", 4, 0.5)
    assert row["positive_covered"][0] == 0.5
    assert row["negative_covered"][0] == 0.5


def test_the_control_tests_the_days_that_did_not_calibrate() -> None:
    flights, late = answered(4000, 1)
    days = np.datetime64("2013-09-01") + np.arange(4000) // 100

    (row,) = conformal.control_coverage(flights, late, days)

    assert row["entities"] == 2000
    assert abs(row["positive_covered"][0] - CONFIDENCE) < 0.06


def test_without_a_slice_of_bands_all_months_are_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "GROUP", None)
    groups = slices.groups(pd.DataFrame({"month": ["2013-08", "2013-09"]}))
    calibration, late = answered(4000, 1)
    predictions, test_late = answered(4000, 2)

    sets = conformal.prediction_sets(
        GroupedProbabilities(calibration.probability, np.repeat(groups[:1], 4000)), late,
        GroupedProbabilities(predictions.probability, np.repeat(groups[1:], 4000)),
    )  # fmt: skip

    assert abs(sets.positive[test_late].mean() - CONFIDENCE) < 0.03
    assert not (sets.positive & sets.negative).all()


def test_a_slice_of_bands_is_what_sets_are_calibrated_within() -> None:
    dimensions = pd.DataFrame({"hour": ["05:00-08:59", "nan"], "month": ["2013-08", "2013-09"]})

    assert slices.groups(dimensions).tolist() == ["05:00-08:59", "nan"]
