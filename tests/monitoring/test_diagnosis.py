"""On synthetic data, the parts of a score's change add up, and the most costly cause is named first."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from monitoring import decomposition, diagnosis, diagnosis_text, recalibration
from monitoring.decomposition import LabelledSample
from monitoring.diagnosis import Diagnosis
from monitoring.family_shapley import FAMILIES, POSITIONS, FamilyShapley
from ontime import schema
from ontime.params import Params

DAYS, FLIGHTS_PER_DAY = 14, 400
COUNT = DAYS * FLIGHTS_PER_DAY
WEIGHTS = {"operations": 1.2, "weather": 0.8, "rotation": 0.6}  # the log-odds per standard deviation of a family


class CalibratedModel:
    """A perfectly calibrated model of `flights`, which uses the first feature of each family in WEIGHTS."""

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        added = sum(weight * np.nan_to_num(matrix[:, POSITIONS[family][0]]) for family, weight in WEIGHTS.items())
        return np.asarray(expit(-1.2 + added), dtype=np.float32)


MODEL: Any = CalibratedModel()


def flights(seed: int) -> LabelledSample:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(COUNT, len(schema.FEATURE_NAMES))).astype(np.float32)
    late = rng.random(COUNT) < MODEL.predict(matrix)
    days = np.datetime64("2013-06-01") + np.repeat(np.arange(DAYS), FLIGHTS_PER_DAY)
    dimensions = pd.DataFrame({"carrier": rng.choice(["UA", "B6", "DL", "AA"], COUNT)})
    return LabelledSample(matrix, late, days, dimensions)


BEFORE, AFTER = flights(1), flights(2)


def diagnosed(after: LabelledSample, params: Params, before: LabelledSample = BEFORE) -> Diagnosis:
    return diagnosis.diagnose(MODEL, before, after, params.cost, params.train.seed)


def with_family(sample: LabelledSample, family: str, values: Any) -> LabelledSample:
    matrix = sample.matrix.copy()
    matrix[:, POSITIONS[family]] = values
    return replace(sample, matrix=matrix)


def shuffled(sample: LabelledSample, family: str) -> LabelledSample:
    values = np.random.default_rng(3).permutation(sample.matrix[:, POSITIONS[family]])
    return with_family(sample, family, values)


def test_every_feature_has_one_family_in_the_models_order() -> None:
    assert tuple(name for names in schema.FAMILIES.values() for name in names) == schema.FEATURE_NAMES


def test_the_parts_of_a_change_add_up(params: Params) -> None:
    result = diagnosed(shuffled(AFTER, "weather"), params)

    for change in result.changes.values():
        families = sum(line.value for line in change.families.values())
        parts = change.covariates.value + change.base_rate.value + change.concept_drift.value
        assert families == pytest.approx(change.covariates.value, abs=1e-9)
        assert parts == pytest.approx(change.total.value, abs=1e-9)
        assert change.after - change.before == pytest.approx(change.total.value, abs=1e-9)


def test_shapley_values_add_up_for_every_pair() -> None:
    shapley = FamilyShapley(MODEL, BEFORE.matrix, AFTER.matrix, 50, 0)

    values = shapley.values(logit)

    before, after = (
        logit(MODEL.predict(rows)) for rows in (BEFORE.matrix[shapley.before], AFTER.matrix[shapley.after])
    )
    assert sum(values.values()) == pytest.approx(after - before, abs=1e-5)
    assert {family for family, value in values.items() if np.abs(value).max() > 1e-6} == set(WEIGHTS)


def test_the_shapley_value_of_an_additive_family_is_what_it_adds() -> None:
    shapley = FamilyShapley(MODEL, BEFORE.matrix, AFTER.matrix, 50, 0)

    feature = POSITIONS["weather"][0]
    added = WEIGHTS["weather"] * (AFTER.matrix[shapley.after, feature] - BEFORE.matrix[shapley.before, feature])
    assert shapley.values(logit)["weather"] == pytest.approx(added, abs=1e-4)


def test_the_expected_score_of_calibrated_probabilities_is_the_mean_observed_score() -> None:
    probability = np.linspace(0.01, 0.99, 99)

    score = decomposition.log_loss(probability)

    drawn = probability * score.observed(np.ones(99, bool)) + (1 - probability) * score.observed(np.zeros(99, bool))
    assert score.expected(probability) == pytest.approx(drawn)


def test_without_a_change_nothing_stands_out(params: Params) -> None:
    result = diagnosed(AFTER, params)

    assert result.notable == ()
    assert diagnosis_text.headline(result).startswith("nothing stands out")


def test_harder_flights_are_not_a_fault(params: Params) -> None:
    """The same relation between features and outcomes, but operations differ: more flights are hard to predict."""
    rng = np.random.default_rng(5)
    matrix = AFTER.matrix.copy()
    matrix[:, POSITIONS["operations"]] += 0.8
    late = rng.random(COUNT) < MODEL.predict(matrix)

    result = diagnosed(replace(AFTER, matrix=matrix, label=late), params)

    change = result.changes["log_loss"]
    assert result.notable == ()
    assert change.total.low > 0
    assert max(change.families, key=lambda family: change.families[family].value) == "operations"
    assert change.covariates.value == pytest.approx(change.total.value, abs=0.02)


@pytest.mark.parametrize("family", list(WEIGHTS))
def test_a_family_with_the_values_of_other_flights_is_named_first(family: str, params: Params) -> None:
    first = diagnosed(shuffled(AFTER, family), params).notable[0]

    assert (first.name, first.silent) == (family, False)


@pytest.mark.parametrize("value", [np.nan, 0.0, 0.5])
def test_a_family_with_the_same_value_for_every_flight_is_silent(value: float, params: Params) -> None:
    result = diagnosed(with_family(AFTER, "operations", value), params)

    assert (result.notable[0].name, result.notable[0].silent) == ("operations", True)
    assert "missing, constant or zero" in diagnosis_text.headline(result)


def test_a_slice_with_flipped_outcomes_is_named(params: Params) -> None:
    chosen = (AFTER.dimensions["carrier"] == "B6").to_numpy()

    result = diagnosed(replace(AFTER, label=AFTER.label ^ chosen), params)

    assert result.notable[0].name == "carrier B6"
    worst = max(result.slices, key=lambda each: each.log_loss - each.expected)
    assert (worst.dimension, worst.name) == ("carrier", "B6")


def test_a_changed_base_rate_is_named(params: Params) -> None:
    rng = np.random.default_rng(4)
    late = rng.random(COUNT) < expit(logit(MODEL.predict(AFTER.matrix).astype(float)) + 1)

    result = diagnosed(replace(AFTER, label=late), params)

    assert result.notable[0].kind == "base rate"
    assert result.changes["log_loss"].base_rate.low > 0
    assert f"{late.mean():.1%} of the flights were late" in diagnosis_text.headline(result)


def test_if_all_outcomes_are_flipped_the_relation_is_named(params: Params) -> None:
    assert diagnosed(replace(AFTER, label=~AFTER.label), params).notable[0].kind == "concept drift"


def test_a_fault_of_both_periods_is_not_a_cause(params: Params) -> None:
    assert diagnosed(shuffled(AFTER, "weather"), params, shuffled(BEFORE, "weather")).notable == ()


def test_a_correction_is_not_measured_on_the_days_that_it_was_fitted_on() -> None:
    """The outcomes of the even days change the correction of the odd days only."""
    log_odds = logit(MODEL.predict(AFTER.matrix).astype(float))
    after = recalibration.cross_fitted(log_odds, AFTER.label, recalibration.intercept_design(log_odds), AFTER.days)
    even = np.arange(DAYS).repeat(FLIGHTS_PER_DAY) % 2 == 0

    changed = AFTER.label.copy()
    changed[even] = True
    again = recalibration.cross_fitted(log_odds, changed, recalibration.intercept_design(log_odds), AFTER.days)

    assert again[even] == pytest.approx(after[even])
    assert (again[~even] > after[~even] + 1).all()


def test_a_period_of_few_days_is_refused(params: Params) -> None:
    few = AFTER.days < AFTER.days[0] + np.timedelta64(3, "D")
    short = LabelledSample(
        AFTER.matrix[few], AFTER.label[few], AFTER.days[few], AFTER.dimensions[few].reset_index(drop=True)
    )

    with pytest.raises(diagnosis.TooFewDays, match=r"now: .* entities of 3 days"):
        diagnosed(short, params)


def test_every_family_has_words() -> None:
    assert set(schema.WORDS.families) == set(FAMILIES)
