"""The reasons add up, and are those that LightGBM itself would give."""

import io
import time
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from lightgbm import Booster
from numpy.typing import NDArray

from ontime import explain, model, split, tree_readers
from ontime.boosting import LightGBM
from ontime.params import Params
from ontime.trees import Trees

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def matrix(weeks: pd.DataFrame) -> NDArray[np.float32]:
    """A hundred flights: known, with an unseen airline, and with nothing but their schedule."""
    labelled = split.labelled(weeks)
    rows = model.matrix_of(labelled, model.categories_of(labelled))[::150][:100]
    rows[20:40, 0] = np.nan
    rows[40:60] = model.request_only(rows[40:60])
    return rows


@pytest.fixture(scope="module")
def booster(weeks: pd.DataFrame, params: Params) -> Booster:
    labelled = split.labelled(weeks)
    few = params.train.changed("lightgbm", n_estimators=30)
    fitted = model.fit(
        "lightgbm", model.matrix_of(labelled, model.categories_of(labelled)), labelled["label"].to_numpy(), few
    )
    assert isinstance(fitted, LightGBM)
    return fitted.booster_


@pytest.fixture(scope="module")
def grown(booster: Booster) -> Trees:
    return Trees.from_bytes(tree_readers.from_lightgbm_dump(booster.dump_model()).to_bytes())


@pytest.mark.slow
def test_each_contribution_is_lightgbms_own(booster: Booster, grown: Trees, matrix: NDArray[np.float32]) -> None:
    expected = np.asarray(booster.predict(matrix, pred_contrib=True))

    explanations = [explain.explain(grown, row) for row in matrix]

    np.testing.assert_allclose([each.contributions for each in explanations], expected[:, :-1], atol=1e-12)
    np.testing.assert_allclose([each.base_value for each in explanations], expected[:, -1], atol=1e-12)


def test_they_add_up_to_the_log_odds_of_the_answer(booster: Booster, grown: Trees, matrix: NDArray[np.float32]) -> None:
    expected = np.asarray(booster.predict(matrix, raw_score=True))

    np.testing.assert_allclose([explain.explain(grown, row).total for row in matrix], expected, atol=1e-9)


def test_the_same_trees_are_the_same_bytes(grown: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a release that is published again would be taken for another one."""
    first = grown.to_bytes()
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2e9))

    assert grown.to_bytes() == first


def test_the_base_value_of_an_older_release_is_read_by_its_old_name(grown: Trees) -> None:
    arrays = asdict(grown)
    buffer = io.BytesIO()
    np.savez(buffer, usual=arrays.pop("base_value"), **arrays)

    older = Trees.from_bytes(buffer.getvalue())

    assert older.to_bytes() == grown.to_bytes()


def test_a_feature_that_no_tree_asks_for_moves_nothing(grown: Trees, matrix: NDArray[np.float32]) -> None:
    unused = sorted(set(range(85)) - set(grown.slot_feature.tolist()))

    assert unused
    assert not explain.explain(grown, matrix[0]).contributions[unused].any()


def test_a_tree_without_a_split_moves_nothing_but_the_usual(grown: Trees, booster: Booster) -> None:
    dump = booster.dump_model()
    dump["tree_info"].append({"tree_structure": {"leaf_value": 0.5}})

    with_stump = tree_readers.from_lightgbm_dump(dump)

    row = np.zeros(85, np.float32)
    before, after = explain.explain(grown, row), explain.explain(with_stump, row)
    assert after.base_value == pytest.approx(before.base_value + 0.5)
    np.testing.assert_allclose(after.contributions, before.contributions, atol=1e-12)
