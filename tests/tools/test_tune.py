"""The search for parameters says whether what it found is better than the current parameters beyond noise."""

import numpy as np
import pandas as pd
import pytest

from ontime import schema
from ontime.candidates import LightGBMParams
from ontime.feature_worth import WorthVerdict
from ontime.params import Params
from pipelines.tools import tune

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def four_months() -> pd.DataFrame:
    """Entities whose label depends on one feature."""
    rng = np.random.default_rng(4)
    days = pd.Series(pd.date_range("2013-01-01", "2013-04-30").repeat(20))
    columns = {name: rng.normal(size=len(days)).astype(np.float32) for name in schema.FEATURE_NAMES}
    odds = np.exp(2 * columns[schema.FEATURE_NAMES[-1]])
    columns |= {name: np.full(len(days), "same") for name in schema.CATEGORICAL}
    return pd.DataFrame({**columns, "day": days, "label": rng.random(len(days)) < odds / (1 + odds)})


@pytest.mark.parametrize(
    ("current_trees", "best_trees", "verdict"),
    [(1, 40, WorthVerdict.WORTH), (40, 1, WorthVerdict.WORSE), (40, 40, WorthVerdict.NOISE)],
)
def test_found_parameters_are_compared_with_the_current_ones(
    current_trees: int, best_trees: int, verdict: WorthVerdict, four_months: pd.DataFrame, params: Params
) -> None:
    train = params.train.changed("lightgbm", n_estimators=current_trees)
    few = params.model_copy(update={"train": train, "tune": params.tune.model_copy(update={"folds": 2})})
    best = LightGBMParams.model_validate({**train.of("lightgbm").model_dump(), "n_estimators": best_trees})

    worth = tune.worth_of_change(four_months, best, few)

    assert worth.verdict == verdict
    assert (worth.value == 0) == (current_trees == best_trees)
