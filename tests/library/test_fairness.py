"""Thresholds by slice: what makes the missed share equal, and what it costs."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from ontime import evaluation, fairness
from ontime.params import Params

FLIGHTS = 20_000


class Flights(NamedTuple):
    late: np.ndarray
    probability: np.ndarray
    days: np.ndarray
    dimensions: pd.DataFrame


@pytest.fixture
def flights() -> Flights:
    """Right probabilities, sharper in the evening, over forty days; a handful of flights at night."""
    rng = np.random.default_rng(5)
    hour = rng.choice(["morning", "evening", "night"], FLIGHTS, p=[0.5, 0.499, 0.001])
    probability = np.where(hour == "morning", rng.beta(4, 16, FLIGHTS), rng.beta(0.6, 1.4, FLIGHTS))
    late = rng.random(FLIGHTS) < probability
    days = np.datetime64("2013-11-01") + np.arange(FLIGHTS) % 40
    return Flights(late, probability, days, pd.DataFrame({"hour": hour}))


def test_every_slice_then_misses_the_same_share(flights: Flights, params: Params) -> None:
    (row,) = fairness.equalised(*flights, params)

    before, after = row["missed"]
    assert row["slices"] == 2
    assert before[1] - before[0] > 0.3
    assert after[1] - after[0] < 0.01


def test_with_right_probabilities_equal_errors_cost_more(flights: Flights, params: Params) -> None:
    late, probability, *_ = flights

    (row,) = fairness.equalised(*flights, params)

    value, low, _ = row["cost_more"]
    assert low > 0
    declared = evaluation.cost_per_1000(late, probability, params.cost)
    assert row["cost_per_1000"] == pytest.approx(declared + value, abs=0.2)


def test_where_no_slice_can_be_judged_nothing_changes(flights: Flights, params: Params) -> None:
    late, probability, days, dimensions = flights
    few = Flights(late[:200], probability[:200], days[:200], dimensions[:200])

    (row,) = fairness.equalised(*few, params)

    assert (row["slices"], row["thresholds"], row["missed"]) == (0, None, [None, None])
    assert row["cost_more"] == [0.0, 0.0, 0.0]


def test_what_each_flight_costs_adds_up_to_the_cost(flights: Flights, params: Params) -> None:
    late, probability, *_ = flights

    paid = fairness.entity_costs_per_1000(late, probability, params.cost, 0.4)

    assert paid.mean() == pytest.approx(evaluation.cost_per_1000(late, probability, params.cost, 0.4))
