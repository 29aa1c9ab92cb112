"""The change of a score is taken apart without a rest, and what costs most is named first: on data that are made up."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from monitoring import changes, diagnosis, diagnosis_words, recalibration
from monitoring.changes import Period
from monitoring.diagnosis import Diagnosis
from monitoring.swaps import FAMILIES, POSITIONS, Swaps
from ontime import schema
from ontime.params import Params

DAYS, A_DAY = 14, 400
COUNT = DAYS * A_DAY
LOUD = {"operations": 1.2, "weather": 0.8, "rotation": 0.6}  # what one standard deviation of a family adds to log-odds


class Known:
    """The model that is exactly right about `flights`: the first feature of each loud family counts."""

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        added = sum(weight * np.nan_to_num(matrix[:, POSITIONS[family][0]]) for family, weight in LOUD.items())
        return np.asarray(expit(-1.2 + added), dtype=np.float32)


MODEL: Any = Known()


def flights(seed: int) -> Period:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(COUNT, len(schema.FEATURE_NAMES))).astype(np.float32)
    late = rng.random(COUNT) < MODEL.predict(matrix)
    days = np.datetime64("2013-06-01") + np.repeat(np.arange(DAYS), A_DAY)
    cuts = pd.DataFrame({"carrier": rng.choice(["UA", "B6", "DL", "AA"], COUNT)})
    return Period(matrix, late, days, cuts)


THEN, NOW = flights(1), flights(2)


def diagnosed(now: Period, params: Params, then: Period = THEN) -> Diagnosis:
    return diagnosis.diagnose(MODEL, then, now, params.cost, params.train.seed)


def with_family(period: Period, family: str, values: Any) -> Period:
    matrix = period.matrix.copy()
    matrix[:, POSITIONS[family]] = values
    return replace(period, matrix=matrix)


def shuffled(period: Period, family: str) -> Period:
    values = np.random.default_rng(3).permutation(period.matrix[:, POSITIONS[family]])
    return with_family(period, family, values)


def test_every_feature_has_one_family_in_the_models_order() -> None:
    assert tuple(name for names in schema.FAMILIES.values() for name in names) == schema.FEATURE_NAMES


def test_the_parts_of_a_change_add_up(params: Params) -> None:
    found = diagnosed(shuffled(NOW, "weather"), params)

    for change in found.changes.values():
        families = sum(line.value for line in change.families.values())
        parts = change.covariates.value + change.base_rate.value + change.relation.value
        assert families == pytest.approx(change.covariates.value, abs=1e-9)
        assert parts == pytest.approx(change.total.value, abs=1e-9)
        assert change.after - change.before == pytest.approx(change.total.value, abs=1e-9)


def test_shares_of_families_add_up_for_every_pair() -> None:
    swaps = Swaps(MODEL, THEN.matrix, NOW.matrix, 50, 0)

    shares = swaps.shares(logit)

    before, after = (logit(MODEL.predict(rows)) for rows in (THEN.matrix[swaps.then], NOW.matrix[swaps.now]))
    assert sum(shares.values()) == pytest.approx(after - before, abs=1e-5)
    assert {family for family, share in shares.items() if np.abs(share).max() > 1e-6} == set(LOUD)


def test_a_family_that_adds_to_the_log_odds_has_just_that_as_its_share() -> None:
    swaps = Swaps(MODEL, THEN.matrix, NOW.matrix, 50, 0)

    feature = POSITIONS["weather"][0]
    added = LOUD["weather"] * (NOW.matrix[swaps.now, feature] - THEN.matrix[swaps.then, feature])
    assert swaps.shares(logit)["weather"] == pytest.approx(added, abs=1e-4)


def test_expected_and_surprise_of_right_probabilities_differ_by_nothing() -> None:
    probability = np.linspace(0.01, 0.99, 99)

    score = changes.log_loss(probability)

    drawn = probability * score.paid(np.ones(99, bool)) + (1 - probability) * score.paid(np.zeros(99, bool))
    assert score.expected(probability) == pytest.approx(drawn)


def test_where_nothing_changed_nothing_stands_out(params: Params) -> None:
    found = diagnosed(NOW, params)

    assert found.culprits == ()
    assert diagnosis_words.headline(found).startswith("nothing stands out")


def test_harder_flights_are_no_fault(params: Params) -> None:
    """The same relation, but operations differ: of flights that are neither surely late nor surely on time."""
    rng = np.random.default_rng(5)
    matrix = NOW.matrix.copy()
    matrix[:, POSITIONS["operations"]] += 0.8
    late = rng.random(COUNT) < MODEL.predict(matrix)

    found = diagnosed(replace(NOW, matrix=matrix, label=late), params)

    change = found.changes["log_loss"]
    assert found.culprits == ()
    assert change.total.low > 0
    assert max(change.families, key=lambda family: change.families[family].value) == "operations"
    assert change.covariates.value == pytest.approx(change.total.value, abs=0.02)


@pytest.mark.parametrize("family", list(LOUD))
def test_a_family_with_other_flights_values_is_named_first(family: str, params: Params) -> None:
    first = diagnosed(shuffled(NOW, family), params).culprits[0]

    assert (first.name, first.silent) == (family, False)


@pytest.mark.parametrize("value", [np.nan, 0.0, 0.5])
def test_a_family_that_says_the_same_of_every_flight_is_silent(value: float, params: Params) -> None:
    found = diagnosed(with_family(NOW, "operations", value), params)

    assert (found.culprits[0].name, found.culprits[0].silent) == ("operations", True)
    assert "missing, frozen or zero" in diagnosis_words.headline(found)


def test_flipped_outcomes_of_a_slice_are_named_by_it(params: Params) -> None:
    chosen = (NOW.cuts["carrier"] == "B6").to_numpy()

    found = diagnosed(replace(NOW, label=NOW.label ^ chosen), params)

    assert found.culprits[0].name == "carrier B6"
    worst = max(found.slices, key=lambda each: each.log_loss - each.expected)
    assert (worst.cut, worst.name) == ("carrier", "B6")


def test_another_base_rate_is_named_as_such(params: Params) -> None:
    rng = np.random.default_rng(4)
    late = rng.random(COUNT) < expit(logit(MODEL.predict(NOW.matrix).astype(float)) + 1)

    found = diagnosed(replace(NOW, label=late), params)

    assert found.culprits[0].kind == "base rate"
    assert found.changes["log_loss"].base_rate.low > 0
    assert f"{late.mean():.1%} of the flights were late" in diagnosis_words.headline(found)


def test_outcomes_that_are_all_flipped_are_a_new_relation(params: Params) -> None:
    assert diagnosed(replace(NOW, label=~NOW.label), params).culprits[0].kind == "relation"


def test_a_fault_that_both_periods_have_is_no_cause(params: Params) -> None:
    assert diagnosed(shuffled(NOW, "weather"), params, shuffled(THEN, "weather")).culprits == ()


def test_a_correction_is_not_judged_by_the_days_that_it_was_learned_from() -> None:
    """One day's own constant would save something; learned on other days, it does not."""
    log_odds = logit(MODEL.predict(NOW.matrix).astype(float))
    after = recalibration.corrected(log_odds, NOW.label, recalibration.constant(log_odds), NOW.days)
    even = np.arange(DAYS).repeat(A_DAY) % 2 == 0

    changed = NOW.label.copy()
    changed[even] = True
    again = recalibration.corrected(log_odds, changed, recalibration.constant(log_odds), NOW.days)

    assert again[even] == pytest.approx(after[even])
    assert (again[~even] > after[~even] + 1).all()


def test_a_period_of_few_days_is_refused(params: Params) -> None:
    few = NOW.days < NOW.days[0] + np.timedelta64(3, "D")
    short = Period(NOW.matrix[few], NOW.label[few], NOW.days[few], NOW.cuts[few].reset_index(drop=True))

    with pytest.raises(diagnosis.TooFewDays, match=r"now: .* entities of 3 days"):
        diagnosed(short, params)


def test_every_family_has_words() -> None:
    assert set(schema.WORDS.families) == set(FAMILIES)
