"""Class weights: they multiply the odds by a known factor, which prior correction removes."""

import numpy as np
import pytest

from ontime import model, schema
from ontime.params import Params
from pipelines.tools import imbalance
from pipelines.tools.imbalance import prior_corrected


@pytest.fixture(scope="module")
def rows() -> tuple[model.Matrix, model.Labels]:
    """Flights whose chance of being late follows from one number."""
    rng = np.random.default_rng(11)
    matrix = np.zeros((20_000, len(schema.FEATURE_NAMES)), np.float32)
    matrix[:, -1] = rng.normal(size=len(matrix))
    return matrix, rng.random(len(matrix)) < 1 / (1 + np.exp(2 - matrix[:, -1]))


@pytest.mark.parametrize("name", ["logistic", "hist_gradient_boosting", "lightgbm"])
@pytest.mark.slow
def test_prior_correction_removes_the_effect_of_weights(
    name: str, rows: tuple[model.Matrix, model.Labels], params: Params
) -> None:
    matrix, late = rows
    few = params.train.changed("lightgbm", n_estimators=100)

    plain = model.predict(model.fit(name, matrix, late, few), matrix)
    weighted = model.predict(model.fit(name, matrix, late, few, np.where(late, 3.0, 1.0)), matrix)

    assert weighted.mean() > plain.mean() + 0.1
    assert prior_corrected(weighted, 3.0).mean() == pytest.approx(plain.mean(), abs=0.01)


def test_a_probability_corrected_by_the_factor_one_stays() -> None:
    probability = np.array([0.0, 0.2, 1.0])

    assert prior_corrected(probability, 1.0) == pytest.approx(probability)


def test_the_ratios_are_those_of_the_costs_and_of_the_labels(params: Params) -> None:
    late = np.arange(1000) < 200

    ways = imbalance.treatments(late, params.cost)

    assert [way.factor for way in ways] == [1.0, params.cost.missed / params.cost.false_alarm, 4.0, 4.0]


def test_where_most_are_late_nothing_is_left_out(params: Params) -> None:
    late = np.arange(1000) < 800

    assert imbalance.treatments(late, params.cost)[-1].factor == 1.0
