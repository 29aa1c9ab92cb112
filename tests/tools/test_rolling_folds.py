"""Parameters are judged on later months than they are fitted on, and compared beyond the noise of seeds."""

import numpy as np
import pandas as pd
import pytest

from ontime import model, schema
from ontime.candidates import LightGBMParams
from ontime.feature_worth import WorthVerdict
from ontime.params import Params
from ontime.refusal import Refusal
from pipelines.tools import rolling_folds


@pytest.fixture(scope="module")
def four_months() -> pd.DataFrame:
    """Entities whose label depends on one feature."""
    rng = np.random.default_rng(4)
    days = pd.Series(pd.date_range("2013-01-01", "2013-04-30").repeat(20))
    columns = {name: rng.normal(size=len(days)).astype(np.float32) for name in schema.FEATURE_NAMES}
    odds = np.exp(2 * columns[schema.FEATURE_NAMES[-1]])
    columns |= {name: np.full(len(days), "same") for name in schema.CATEGORICAL}
    return pd.DataFrame({**columns, "day": days, "label": rng.random(len(days)) < odds / (1 + odds)})


def test_each_fold_judges_a_month_after_the_months_that_it_fits(four_months: pd.DataFrame) -> None:
    march, april = rolling_folds.rolling_folds(four_months, 2)

    months = four_months["day"].dt.month
    for fold, month in ((march, 3), (april, 4)):
        assert set(pd.DatetimeIndex(fold.later_day).month) == {month}
        assert len(fold.rows) == len(fold.label) == (months < month).sum()
        np.testing.assert_array_equal(fold.later_label, four_months["label"][months == month])
    categories = model.categories_of(four_months)
    np.testing.assert_array_equal(april.later, model.matrix_of(four_months[months == 4], categories))


def test_a_category_that_only_the_judged_month_has_is_unknown_to_its_fold(four_months: pd.DataFrame) -> None:
    name = schema.CATEGORICAL[0]
    april = four_months["day"].dt.month == 4
    changed = four_months.assign(**{name: four_months[name].mask(april, "new")})

    (fold,) = rolling_folds.rolling_folds(changed, 1)

    position = schema.FEATURE_NAMES.index(name)
    assert np.isnan(fold.later[:, position]).all()
    assert not np.isnan(fold.rows[:, position]).any()


def test_more_folds_than_months_to_judge_are_refused(four_months: pd.DataFrame) -> None:
    with pytest.raises(Refusal, match=r"has 4 months, and 4 folds need at least 5: lower tune.folds"):
        rolling_folds.rolling_folds(four_months, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("current_trees", "best_trees", "verdict"),
    [(1, 40, WorthVerdict.WORTH), (40, 1, WorthVerdict.WORSE), (40, 40, WorthVerdict.NOISE)],
)
def test_parameters_are_compared_with_the_current_ones(
    current_trees: int, best_trees: int, verdict: WorthVerdict, four_months: pd.DataFrame, params: Params
) -> None:
    train = params.train.changed("lightgbm", n_estimators=current_trees)
    best = LightGBMParams.model_validate({**train.of("lightgbm").model_dump(), "n_estimators": best_trees})
    folds = rolling_folds.rolling_folds(four_months, 2)

    worth = rolling_folds.worth_of_change(folds, best, train)

    assert worth.verdict == verdict
    assert (worth.value == 0) == (current_trees == best_trees)
