"""What a set of features is worth: both noises, that of the days and that of the seeds, have to be exceeded."""

import numpy as np
import pytest

from ontime import feature_worth
from ontime.feature_worth import WorthVerdict
from ontime.params import Cost
from ontime.refusal import Refusal

DAYS = np.repeat(np.array(["2013-09-01", "2013-09-02", "2013-09-03"], "datetime64[us]"), 2)
LATE = np.array([True, False] * 3)


@pytest.mark.parametrize(
    ("value", "low", "high", "deviation", "verdict"),
    [
        (0.0020, 0.0001, 0.0039, 0.0, WorthVerdict.WORTH),
        (0.0020, 0.0, 0.0040, 0.0, WorthVerdict.NOISE),  # other days may have given nothing
        (0.0020, -0.0001, 0.0041, 0.0, WorthVerdict.NOISE),
        (0.00087, 0.0001, 0.0016, 0.0, WorthVerdict.WORTH),
        (0.00086, 0.0001, 0.0016, 0.0, WorthVerdict.NOISE),  # below .0015 / sqrt(3), whatever the seeds say
        (0.0020, 0.0001, 0.0039, 0.0017, WorthVerdict.WORTH),  # 2 x .0017 / sqrt(3) = .00196
        (0.0020, 0.0001, 0.0039, 0.0018, WorthVerdict.NOISE),  # 2 x .0018 / sqrt(3) = .00208
        (-0.0020, -0.0039, -0.0001, 0.0, WorthVerdict.WORSE),
        (-0.0020, -0.0040, 0.0, 0.0, WorthVerdict.NOISE),
        (-0.00086, -0.0016, -0.0001, 0.0, WorthVerdict.NOISE),
        (-0.0020, -0.0039, -0.0001, 0.0018, WorthVerdict.NOISE),
    ],
)
def test_a_difference_counts_if_it_exceeds_the_noise_of_days_and_of_seeds(
    value: float, low: float, high: float, deviation: float, verdict: WorthVerdict
) -> None:
    least = feature_worth.least_difference(3)

    assert feature_worth.verdict_on(value, low, high, deviation, 3, least) == verdict


def test_fewer_seeds_need_a_larger_difference() -> None:
    assert feature_worth.least_difference(1) == pytest.approx(0.0015)
    assert feature_worth.least_difference(9) == pytest.approx(0.0005)


def test_the_worth_is_the_mean_over_seeds_and_its_spread_is_shown() -> None:
    lacking = np.full((3, 6), 0.5)
    # The log-loss of each seed is lower than ln 2 by .1, .2 and .3, for every entity.
    likelihood = 0.5 * np.exp([[0.1], [0.2], [0.3]])
    having = np.where(LATE, likelihood, 1 - likelihood)

    worth = feature_worth.worth(LATE, having, lacking, DAYS)

    assert worth.value == pytest.approx(0.2)
    assert worth.seed_deviation == pytest.approx(0.1)
    assert (worth.low, worth.high) == pytest.approx((0.2, 0.2))  # all days are equal
    assert worth.verdict == WorthVerdict.WORTH
    assert feature_worth.worth(LATE, lacking, having, DAYS).verdict == WorthVerdict.WORSE


def test_days_that_disagree_make_the_interval_wide() -> None:
    lacking = np.full((2, 6), 0.5)
    saved = np.repeat([0.5, -0.4, 0.2], 2)
    likelihood = 0.5 * np.exp(np.vstack([saved, saved]))
    having = np.where(LATE, likelihood, 1 - likelihood)

    worth = feature_worth.worth(LATE, having, lacking, DAYS)

    assert worth.value == pytest.approx(0.1)
    assert worth.seed_deviation == pytest.approx(0)
    assert worth.low < 0 < worth.high
    assert worth.verdict == WorthVerdict.NOISE


def test_a_single_day_has_no_interval_and_is_refused() -> None:
    with pytest.raises(Refusal, match="of one day"):
        feature_worth.worth(LATE, np.full((2, 6), 0.5), np.full((2, 6), 0.5), DAYS[:1].repeat(6))


def test_scores_are_means_over_seeds() -> None:
    label = np.array([True, True, False, False])
    cost = Cost(missed=3, false_alarm=1, alert_threshold=0.25)
    probabilities = np.array([[0.9, 0.1, 0.3, 0.2], [0.9, 0.8, 0.2, 0.2]])

    scores = feature_worth.mean_scores(label, probabilities, cost)

    assert scores["false_alarms_per_1000"] == pytest.approx((250 + 0) / 2)
    assert scores["missed_per_1000"] == pytest.approx((250 + 0) / 2)
    assert scores["cost_per_1000"] == pytest.approx((3 * 250 + 250) / 2)
    assert scores["auc"] == pytest.approx((0.5 + 1) / 2)
    assert scores["mean_probability"] == pytest.approx((0.375 + 0.525) / 2)
    assert scores["log_loss"] == pytest.approx(-np.log([0.9, 0.1, 0.7, 0.8, 0.9, 0.8, 0.8, 0.8]).mean())
