"""One feature that tells too much, alone or in a model, is refused by name; honest ones pass."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ontime import leaks, model, schema
from ontime.candidates import CANDIDATES
from ontime.params import Params
from tests.short_fits import short

pytestmark = pytest.mark.slow

ROWS = 6_000


@pytest.fixture(scope="module")
def labelled(weeks: pd.DataFrame) -> pd.DataFrame:
    return weeks[weeks["label"].notna()].reset_index(drop=True)


def alone(values: object, late: np.ndarray) -> float:
    return leaks.single_feature_aucs(pd.DataFrame({"mine": values}), late)["mine"]


@pytest.fixture(scope="module")
def late() -> np.ndarray:
    return np.random.default_rng(1).random(ROWS) < 0.25


def test_honest_features_pass(labelled: pd.DataFrame, params: Params) -> None:
    leaks.refuse_predictive(labelled, labelled["label"], params.leaks)


def test_noise_tells_nothing(late: np.ndarray) -> None:
    drawn = np.random.default_rng(2)

    assert alone(drawn.normal(size=ROWS), late) < 0.53
    assert alone(drawn.choice([*"abcdefgh"], ROWS), late) < 0.53


def test_a_feature_that_rises_or_falls_with_the_label_is_seen(late: np.ndarray) -> None:
    noise = np.random.default_rng(3).normal(size=ROWS)

    assert alone(late + noise, late) == pytest.approx(alone(-(late + noise), late), abs=0.02)
    assert alone(2 * late + noise, late) > 0.9


def test_a_feature_that_is_high_and_low_for_late_flights_is_seen(late: np.ndarray) -> None:
    sign = np.random.default_rng(4).choice([-1.0, 1.0], ROWS)

    assert alone(np.where(late, 3 * sign, sign), late) > 0.9


def test_a_category_and_a_missing_value_that_tell_are_seen(late: np.ndarray) -> None:
    assert alone(np.where(late, "cancelled", "flown"), late) == 1
    assert alone(np.where(late, np.nan, np.arange(ROWS)), late) > 0.99


def test_what_is_known_of_some_flights_only_is_judged_by_them(late: np.ndarray) -> None:
    is_known = np.arange(ROWS) % 4 == 0

    assert alone(np.where(is_known, late.astype(float) + np.arange(ROWS) / ROWS, np.nan), late) == 1


def test_a_feature_of_too_much_power_is_named_with_figure_limit_and_what_to_do(
    labelled: pd.DataFrame, params: Params
) -> None:
    planted = labelled.assign(plane_seats=labelled["value"])

    with pytest.raises(leaks.LeakFound, match=r"^plane_seats alone has AUC 1\.000, above leaks\.feature_auc 0\.8: .*"
                       "add plane_seats to leaks.accepted in params.yaml"):  # fmt: skip
        leaks.refuse_predictive(planted, labelled["label"], params.leaks)


def test_a_feature_that_a_person_has_accepted_passes(labelled: pd.DataFrame, params: Params) -> None:
    planted = labelled.assign(plane_seats=labelled["value"])

    accepted = params.leaks.model_copy(update={"accepted": ["plane_seats"]})

    leaks.refuse_predictive(planted, labelled["label"], accepted)
    leaks.refuse_dominant([1.0 * (name == "plane_seats") for name in schema.FEATURE_NAMES], accepted)


def test_a_feature_with_most_of_the_gain_is_refused(params: Params) -> None:
    gain = [1.0] * len(schema.FEATURE_NAMES)
    leaks.refuse_dominant(gain, params.leaks)
    leaks.refuse_dominant([0.0] * len(gain), params.leaks)

    share = 100 / (len(gain) + 99)
    with pytest.raises(
        leaks.LeakFound, match=rf"^carrier has {share:.1%} of the model's gain, above leaks\.gain_share 0\.3"
    ):
        leaks.refuse_dominant([100.0, *gain[1:]], params.leaks)


@pytest.mark.parametrize("name", [name for name, entry in CANDIDATES.items() if entry.gain is not None])
@pytest.mark.slow
def test_the_gain_of_a_model_goes_to_the_feature_that_tells(name: str, labelled: pd.DataFrame, params: Params) -> None:
    planted = labelled.assign(plane_seats=labelled["value"])
    categories, late = model.categories_of(labelled), labelled["label"].to_numpy(bool)
    gain_of = CANDIDATES[name].gain
    assert gain_of is not None
    few = short(params.train).changed("lightgbm", n_estimators=60)

    honest, telling = (
        gain_of(model.fit(name, model.matrix_of(rows, categories), late, few)) for rows in (labelled, planted)
    )

    assert len(honest) == len(schema.FEATURE_NAMES)
    leaks.refuse_dominant(honest, params.leaks)
    with pytest.raises(leaks.LeakFound, match=r"^plane_seats has"):
        leaks.refuse_dominant(telling, params.leaks)


def test_how_much_all_features_may_explain_and_which_are_honest_say_the_params(
    labelled: pd.DataFrame, params: Params
) -> None:
    outcomes = labelled[["label", "value"]].astype(float)
    noise = np.random.default_rng(1).normal(0, outcomes["value"].std() / 2, len(labelled))
    planted = labelled.assign(plane_seats=outcomes["value"] + noise)  # 1 / (1 + 1/4) of the variance: 80 %

    leaks.refuse(planted, outcomes, params.leaks)
    strict = params.leaks.model_copy(update={"explained": 0.7})
    with pytest.raises(leaks.LeakFound, match=r"^features explain 8\d\.\d% of value; look at plane_seats, .* the limit "
                       r"is leaks\.explained 0\.7\. If they are legitimate, add them to leaks\.accepted"):  # fmt: skip
        leaks.refuse(planted, outcomes, strict)
    leaks.refuse(planted, outcomes, strict.model_copy(update={"accepted": ["plane_seats"]}))


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_its_auc_is_that_of_scikit_learn_with_and_without_ties(digits: int, late: np.ndarray) -> None:
    score = np.round(np.random.default_rng(3).normal(size=ROWS) + late, digits)

    assert leaks._auc(late, score) == pytest.approx(roc_auc_score(late, score), abs=1e-12)
