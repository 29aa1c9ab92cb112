"""The gate promotes what is better, rejects what may be no better, and never compares on flights that were seen."""

import re
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ontime import evaluation, gate, split
from ontime.gate import GateBroken, Rival, Verdict
from ontime.params import Params

RNG = np.random.default_rng(3)
TRUTH = RNG.uniform(0.05, 0.6, 12_000)


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    """60 days of 200 flights, whose true probability is known."""
    return pd.DataFrame(
        {
            "label": RNG.random(12_000) < TRUTH,
            "day": np.repeat(pd.date_range("2013-11-01", periods=60), 200),
            "origin": np.tile(["EWR", "JFK"], 6_000),
            "carrier": np.tile(["AA", "AA", "AA", "AA", "AA", "AA", "AA", "AA", "AA", "HA"], 1_200),
            "departure_minute": RNG.uniform(300, 1400, 12_000),
            "distance_miles": RNG.uniform(200, 2500, 12_000),
        }
    )


def decide(
    flights: pd.DataFrame, challenger: np.ndarray, champion: np.ndarray, params: Params, **options: Any
) -> Verdict:
    """Without the limit for what is too good, as the champions of these tests know little."""
    generous = params.gate.model_copy(update={"margin_auc": 1.0})
    return gate.decide(flights, challenger, Rival("release 1", champion), generous, params.evaluate, **options)


def logit(probability: np.ndarray, times: float = 1, plus: float = 0) -> np.ndarray:
    """The probabilities with their log-odds multiplied and moved."""
    moved: np.ndarray = 1 / (1 + np.exp(-(np.log(probability / (1 - probability)) * times + plus)))
    return moved


def test_a_better_challenger_is_promoted(flights: pd.DataFrame, params: Params) -> None:
    verdict = decide(flights, TRUTH, np.full(12_000, TRUTH.mean()), params)

    assert verdict.promote
    assert verdict.low <= verdict.difference <= verdict.high < 0


def test_a_worse_challenger_is_not(flights: pd.DataFrame, params: Params) -> None:
    assert not decide(flights, np.full(12_000, TRUTH.mean()), TRUTH, params).promote


def test_the_champion_itself_is_not_better_than_the_champion(flights: pd.DataFrame, params: Params) -> None:
    verdict = decide(flights, TRUTH, TRUTH, params)

    assert (verdict.promote, verdict.difference) == (False, 0.0)


def test_a_refresh_asks_only_for_not_worse(flights: pd.DataFrame, params: Params) -> None:
    assert decide(flights, TRUTH, TRUTH, params, non_inferiority=True).promote


def test_a_refresh_that_is_worse_than_the_margin_is_kept_out(flights: pd.DataFrame, params: Params) -> None:
    worse = np.clip(TRUTH + 0.1, 0.01, 0.99)

    assert not decide(flights, worse, TRUTH, params, non_inferiority=True).promote


def test_a_slice_that_gets_worse_keeps_a_better_challenger_out(flights: pd.DataFrame, params: Params) -> None:
    rare = (flights["carrier"] == "HA").to_numpy()
    careless = np.where(rare, 1 - TRUTH, TRUTH)

    verdict = decide(flights, careless, np.full(12_000, TRUTH.mean()), params)

    assert not verdict.promote
    assert any(worse.startswith("carrier HA") for worse in verdict.worse_slices)


def test_a_slice_that_is_too_small_does_not_decide(flights: pd.DataFrame, params: Params) -> None:
    few = flights.assign(carrier=["HA", *["AA"] * 11_999])
    careless = np.concatenate([[1 - TRUTH[0]], TRUTH[1:]])

    verdict = decide(few, careless, np.full(12_000, TRUTH.mean()), params)

    assert verdict.promote


def test_days_that_differ_much_widen_the_interval(flights: pd.DataFrame, params: Params) -> None:
    """Better on half of the days and worse on the others: by flights certain, by days not."""
    odd = (flights["day"].dt.day % 2 == 1).to_numpy()
    luck = np.where(flights["label"], 0.9, 0.1)
    with_day_effects = np.where(odd, 0.5 * TRUTH + 0.5 * luck, np.clip(TRUTH + 0.36 * (0.5 - luck), 0.01, 0.99))

    by_days = decide(flights, with_day_effects, TRUTH, params)
    by_flights = decide(
        flights.assign(day=pd.date_range("1990-01-01", periods=12_000)), with_day_effects, TRUTH, params
    )

    assert by_days.high - by_days.low > 2 * (by_flights.high - by_flights.low)


def test_a_slice_that_looks_worse_by_chance_does_not_keep_a_challenger_out(
    flights: pd.DataFrame, params: Params
) -> None:
    """One bad day of an airline: worse by more than the margin, and not surely worse."""
    late, rare = flights["label"].to_numpy(bool), (flights["carrier"] == "HA").to_numpy()
    unlucky = rare & (flights["day"] == "2013-11-05").to_numpy()
    challenger = np.where(unlucky, np.where(late, 0.01, 0.99), TRUTH)

    verdict = decide(flights, challenger, TRUTH, params)

    assert (evaluation.losses(late, challenger) - evaluation.losses(late, TRUTH))[rare].mean() > 0.01
    assert verdict.worse_slices == []


def test_a_challenger_that_ranks_better_and_says_too_much_is_kept_out(flights: pd.DataFrame, params: Params) -> None:
    verdict = decide(flights, np.clip(TRUTH + 0.05, 0, 1), np.full(12_000, TRUTH.mean()), params)

    assert verdict.high < 0
    assert not verdict.promote
    assert "its mean probability is off by +0.0" in verdict.reason


def test_a_challenger_that_ranks_better_and_is_too_sure_is_kept_out(flights: pd.DataFrame, params: Params) -> None:
    centred = np.log(TRUTH.mean() / (1 - TRUTH.mean()))
    too_sure = logit(TRUTH, 1.6, -0.6 * centred)

    verdict = decide(flights, too_sure, np.full(12_000, TRUTH.mean()), params)

    assert verdict.high < 0
    assert verdict.reason.startswith("its calibration error (ECE) is 0.0")


def test_a_gap_that_may_be_chance_keeps_nobody_out(flights: pd.DataFrame, params: Params) -> None:
    """Off by more than the margin on two days only, and there by far: worse, and not surely worse."""
    fortnight = (flights["day"] < "2013-11-15").to_numpy()
    two_days = flights["day"].between("2013-11-05", "2013-11-06").to_numpy()
    challenger = np.where(two_days, np.clip(TRUTH + 0.5, 0, 0.99), TRUTH)

    verdict = decide(flights[fortnight], challenger[fortnight], TRUTH[fortnight], params)

    assert verdict.calibration["worse_mean_low"] < 0 < verdict.calibration["worse_mean_high"]
    assert verdict.calibration["mean_gap"] > params.gate.margin_calibration
    assert verdict.calibration["mean_gap_low"] < verdict.calibration["mean_gap"] < verdict.calibration["mean_gap_high"]
    assert "mean probability" not in verdict.reason


def test_a_gap_that_the_champion_has_as_well_is_the_weather(flights: pd.DataFrame, params: Params) -> None:
    """Every flight of the season is late more often than either was taught: the better one may still answer."""
    verdict = decide(flights, logit(TRUTH, plus=-0.4), logit(TRUTH, 0.5, -0.9), params)

    assert verdict.calibration["mean_gap"] < -params.gate.margin_calibration
    assert verdict.promote


def test_small_steps_down_do_not_add_up(flights: pd.DataFrame, params: Params) -> None:
    """Each is no worse than the one before it by more than the margin; the third has lost more than that in all."""
    chain = [logit(TRUTH, times) for times in (1, 0.96, 0.92, 0.88, 0.84, 0.8)]
    best = Rival("release 1", chain[0])

    alone = [decide(flights, after, before, params, non_inferiority=True) for before, after in pairwise(chain)]
    held = [
        decide(flights, after, before, params, non_inferiority=True, best=best) for before, after in pairwise(chain)
    ]

    assert all(verdict.promote for verdict in alone)
    assert [verdict.promote for verdict in held] == [True, True, False, False, False]
    assert held[-1].reason.startswith("compared with release 1, the best so far: log-loss 0.")


def test_what_is_better_need_not_be_compared_with_the_best(flights: pd.DataFrame, params: Params) -> None:
    verdict = decide(flights, TRUTH, np.full(12_000, TRUTH.mean()), params, best=Rival("release 1", TRUTH))

    assert verdict.promote


def test_a_jump_that_no_honest_model_makes_is_stopped(flights: pd.DataFrame, params: Params) -> None:
    knows = np.where(flights["label"], 0.9, 0.1)

    verdict = gate.decide(flights, knows, Rival("release 1", TRUTH), params.gate, params.evaluate)

    assert not verdict.promote
    assert "too good to be true: AUC 1.000 where release 1 has 0.7" in verdict.reason


def test_the_first_model_must_be_skilful_and_honest(flights: pd.DataFrame, params: Params) -> None:
    rate = TRUTH.mean()
    champion = np.full(12_000, rate)

    skilful = decide(flights, TRUTH, champion, params, base_rate=rate)
    timid = decide(flights, logit(TRUTH, 0.2, 0.8 * np.log(rate / (1 - rate))), champion, params, base_rate=rate)
    loud = decide(flights, np.clip(TRUTH + 0.08, 0, 1), champion, params, base_rate=rate)

    assert skilful.promote
    assert timid.high < 0
    assert "not significantly more than gate.first_skill 5%" in timid.reason
    assert "its probabilities are off by 0.0" in loud.reason
    assert re.search(r"and more than chance explains with 12,000 flights \(0\.0\d\d\)", loud.reason)


def test_few_rows_do_not_condemn_a_first_model_that_is_right(flights: pd.DataFrame, params: Params) -> None:
    """Of 333 rows, chance alone gives most calibrated models an error above `first_calibration`."""
    rate, few = TRUTH.mean(), flights.sample(333, random_state=1)
    honest, loud = TRUTH[few.index], np.clip(TRUTH[few.index] + 0.25, 0, 1)

    verdicts = [decide(few, each, np.full(333, rate), params, base_rate=rate).reason for each in (honest, loud)]

    assert evaluation.expected_calibration_error(few["label"].to_numpy(bool), honest) > params.gate.first_calibration
    assert "off by" not in verdicts[0]
    assert "its probabilities are off by 0.2" in verdicts[1]


def test_flights_of_one_day_decide_nothing(flights: pd.DataFrame, params: Params) -> None:
    with pytest.raises(GateBroken, match="all 12,000 flights are of one day"):
        decide(flights.assign(day=pd.Timestamp("2013-11-01")), TRUTH, TRUTH, params)


def test_a_training_period_that_reaches_into_the_judging_days_is_refused() -> None:
    with pytest.raises(GateBroken, match="release 3 was trained until 2013-12-01"):
        gate.refuse_seen_days("release 3", date(2013, 12, 1), date(2013, 11, 1))


def test_flights_that_a_model_was_fitted_on_are_found_whatever_their_day_says() -> None:
    trained_ids, unseen = (
        pd.Series([f"UA{number}-EWR" for number in numbers]) for numbers in (range(50), range(50, 90))
    )
    trained_on = np.sort(split.row_keys(trained_ids))

    gate.refuse_seen_entities("release 3", trained_on, unseen)
    with pytest.raises(
        GateBroken, match=r"release 3 was trained on 1 of the 41 flights it is judged on, such as UA7-EWR"
    ):
        gate.refuse_seen_entities("release 3", trained_on, pd.concat([unseen, trained_ids[trained_ids == "UA7-EWR"]]))
