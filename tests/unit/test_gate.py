"""The gate promotes what is better, keeps what it cannot tell, and never compares on flights that were seen."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from ontime import gate
from ontime.gate import GateBroken
from ontime.params import Params

RNG = np.random.default_rng(3)
TRUTH = RNG.uniform(0.05, 0.6, 12_000)


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    """60 days of 200 flights, whose true probability is known."""
    return pd.DataFrame(
        {
            "late": RNG.random(12_000) < TRUTH,
            "day": np.repeat(pd.date_range("2013-11-01", periods=60), 200),
            "origin": np.tile(["EWR", "JFK"], 6_000),
            "carrier": np.tile(["AA", "AA", "AA", "AA", "AA", "AA", "AA", "AA", "AA", "HA"], 1_200),
            "departure_minute": RNG.uniform(300, 1400, 12_000),
            "distance_miles": RNG.uniform(200, 2500, 12_000),
        }
    )


def decide(flights: pd.DataFrame, challenger: np.ndarray, champion: np.ndarray, params: Params, **asked: bool):  # type: ignore[no-untyped-def]
    return gate.decide(flights, challenger, champion, params.gate, params.evaluate, **asked)


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
    assert decide(flights, TRUTH, TRUTH, params, refresh=True).promote


def test_a_refresh_that_is_worse_than_the_margin_is_kept_out(flights: pd.DataFrame, params: Params) -> None:
    worse = np.clip(TRUTH + 0.1, 0.01, 0.99)

    assert not decide(flights, worse, TRUTH, params, refresh=True).promote


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
    luck = np.where(flights["late"], 0.9, 0.1)
    moody = np.where(odd, 0.5 * TRUTH + 0.5 * luck, np.clip(TRUTH + 0.36 * (0.5 - luck), 0.01, 0.99))

    by_days = decide(flights, moody, TRUTH, params)
    by_flights = decide(flights.assign(day=pd.date_range("1990-01-01", periods=12_000)), moody, TRUTH, params)

    assert by_days.high - by_days.low > 2 * (by_flights.high - by_flights.low)


def test_a_model_that_was_trained_on_the_judging_flights_is_refused() -> None:
    with pytest.raises(GateBroken, match="release 3 was trained until 2013-12-01"):
        gate.refuse_seen_flights("release 3", date(2013, 12, 1), date(2013, 11, 1))
