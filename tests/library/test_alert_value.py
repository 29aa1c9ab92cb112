"""What alerts cost and save: steps, ratios and thresholds, with numbers made by hand."""

import numpy as np
import pytest

from ontime import alert_value
from ontime.alert_value import ALERT_ALWAYS, NO_ALERTS, ValueStep
from ontime.feature_worth import WorthVerdict
from ontime.params import Cost
from ontime.refusal import Refusal

COST = Cost(missed=3, false_alarm=1, alert_threshold=0.25)
LABEL = np.array([True, False, False, False] * 3)
DAYS = np.repeat(np.array(["2013-11-01", "2013-11-02", "2013-11-03"], "datetime64[us]"), 4)
NOTHING = ValueStep(NO_ALERTS, "nothing", np.zeros((3, 12)))
EXACT = ValueStep("exact", "knows the label", np.tile(LABEL.astype(float), (3, 1)))
ALWAYS = ValueStep("always", "alerts always", np.ones((3, 12)))


def test_each_step_shows_its_errors_and_what_it_saves_against_the_step_before() -> None:
    rows = alert_value.step_rows(LABEL, DAYS, [NOTHING, EXACT, ALWAYS], COST)

    errors = [(row["missed_per_1000"], row["false_alarms_per_1000"], row["cost_per_1000"]) for row in rows]
    assert errors == [(250, 0, 750), (0, 0, 0), (0, 750, 750)]
    assert rows[0]["saved"] is None
    assert [row["saved"]["value"] for row in rows[1:]] == [750, -750]
    assert [row["saved"]["verdict"] for row in rows[1:]] == [WorthVerdict.WORTH, WorthVerdict.WORSE]


def test_a_step_on_which_the_days_disagree_is_within_noise() -> None:
    one_day = np.where(DAYS[0] == DAYS, LABEL, False).astype(float)

    rows = alert_value.step_rows(LABEL, DAYS, [NOTHING, ValueStep("some", "", np.tile(one_day, (3, 1)))], COST)

    assert rows[1]["saved"]["value"] == 250
    assert rows[1]["saved"]["low"] < 0 < rows[1]["saved"]["high"]
    assert rows[1]["saved"]["verdict"] == WorthVerdict.NOISE


def test_seeds_that_agree_by_chance_do_not_make_a_small_step_count() -> None:
    """All seeds of the last step save 250, less than the noise that the seeds of the step before show."""
    second = np.arange(12) % 4 == 1  # of each day, and never positive
    restless = np.stack([second, second | LABEL, np.ones(12)]).astype(float)
    steps = [NOTHING, ValueStep("a", "", restless), ValueStep("b", "", restless * ~second)]

    saved = alert_value.step_rows(LABEL, DAYS, steps, COST)[2]["saved"]

    assert (saved["value"], saved["low"], saved["seed_deviation"]) == (250, 250, 0)
    assert saved["verdict"] == WorthVerdict.NOISE


def test_entities_of_one_day_are_refused() -> None:
    with pytest.raises(Refusal, match="of one day"):
        alert_value.step_rows(LABEL, DAYS[:1].repeat(12), [NOTHING, EXACT], COST)


def test_the_saving_of_the_model_is_against_any_step() -> None:
    assert alert_value.saving(LABEL, DAYS, ALWAYS, EXACT, COST)["value"] == 750
    assert alert_value.saving(LABEL, DAYS, NOTHING, ALWAYS, COST)["value"] == 0


def test_at_each_ratio_the_model_is_compared_with_the_cheapest_of_the_others() -> None:
    probabilities = {"rates": np.full(12, 0.25), "model": np.where(LABEL, 0.6, 0.1)}

    rows = {row["ratio"]: row for row in alert_value.ratio_rows(LABEL, DAYS, probabilities)}

    assert list(rows) == list(range(1, 11))
    assert rows[1]["costs"] == {NO_ALERTS: 250, ALERT_ALWAYS: 750, "rates": 250, "model": 0}
    assert rows[1]["cheapest_other"] == NO_ALERTS
    # From 3 : 1 on, the break-even point is at most 0.25 and the rates alert always; at 10 : 1, the model too.
    assert rows[4]["costs"] == {NO_ALERTS: 1000, ALERT_ALWAYS: 750, "rates": 750, "model": 0}
    assert rows[4]["cheapest_other"] == ALERT_ALWAYS
    assert (rows[4]["threshold"], rows[4]["saved"]) == (0.2, {"value": 750, "low": 750, "high": 750})
    assert rows[10]["costs"]["model"] == 750
    assert rows[10]["saved"] == {"value": 0, "low": 0, "high": 0}
    assert (rows[10]["best_threshold"], rows[10]["best_threshold_cost"]) == (0.11, 0)


def test_probabilities_that_are_too_high_move_the_cheapest_threshold_up() -> None:
    """Of each eight entities with the probability 0.4, one is positive; of those with 0.8, four."""
    probability = np.repeat([0.4, 0.8], 8)
    label = np.array([True] + [False] * 7 + [True] * 4 + [False] * 4)

    assert alert_value.break_even(COST) == 0.25
    assert alert_value.cheapest_threshold(label, probability, COST) == (0.41, 1000 * (3 + 4) / 16)
