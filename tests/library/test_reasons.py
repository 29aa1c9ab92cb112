"""Reasons of every kind of model, against Shapley's own definition: all subsets of features, one by one."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from ontime import candidates, explain, linear, tree_readers
from ontime.candidates import LogisticParams
from ontime.tree_readers import TooManyConditions, UnsupportedModel
from ontime.trees import NoArrays, Trees

Matrix = NDArray[np.float32]
Worth = Callable[[Sequence[int]], float]  # what a model is expected to say if only these features are known

# Four trees of three levels, fitted on 400 rows with holes by xgboost-cpu 3.2, and what it says itself:
# `save_raw("json")`, `predict(pred_contribs=True)`, `predict(output_margin=True)`.
XGBOOST = json.loads((Path(__file__).parent / "xgboost_model.json").read_text())


@pytest.fixture(scope="module")
def rows() -> Matrix:
    """Four features, the first a category, with holes."""
    drawn = np.random.default_rng(0)
    rows = drawn.normal(size=(300, 4)).round(2)
    rows[:, 0] = drawn.integers(0, 3, 300)
    rows[drawn.random(rows.shape) < 0.15] = np.nan
    return rows.astype(np.float32)


@pytest.fixture(scope="module")
def late(rows: Matrix) -> NDArray[np.bool_]:
    fixed = np.nan_to_num(rows)
    odds = fixed[:, 0] - 1 + fixed[:, 1] * fixed[:, 2] + np.isnan(rows[:, 3])
    return np.random.default_rng(1).random(len(rows)) < 1 / (1 + np.exp(-odds))


def shapley(worth: Worth, features: int) -> list[float]:
    """The definition: what a feature adds, over all orders in which the features become known."""
    values = []
    for feature in range(features):
        others = [each for each in range(features) if each != feature]
        values.append(
            sum(
                factorial(size) * factorial(features - size - 1) / factorial(features)
                * (worth([*fixed, feature]) - worth(fixed))
                for size in range(features)
                for fixed in combinations(others, size)
            )
        )  # fmt: skip
    return values


def expected_of_forest(tree: Any, row: NDArray[np.floating[Any]], fixed: Sequence[int], node: int = 0) -> float:
    """Down a tree of scikit-learn; where the feature is not known, down both sides by their training rows."""
    left, right = tree.children_left[node], tree.children_right[node]
    if left < 0:
        return float(tree.value[node, 0, 1] / tree.value[node, 0].sum())
    if tree.feature[node] in fixed:
        value = row[tree.feature[node]]
        goes_left = tree.missing_go_to_left[node] if np.isnan(value) else value <= tree.threshold[node]
        return expected_of_forest(tree, row, fixed, left if goes_left else right)
    weights = tree.weighted_n_node_samples
    sides = (weights[side] * expected_of_forest(tree, row, fixed, side) for side in (left, right))
    return float(sum(sides) / weights[node])


def expected_of(forest: Sequence[Any], row: NDArray[np.floating[Any]]) -> Worth:
    return lambda fixed: float(np.mean([expected_of_forest(tree, row, fixed) for tree in forest]))


def expected_of_boosting(nodes: Any, row: Matrix, fixed: Sequence[int], place: int = 0) -> float:
    """The same down a tree of histogram boosting."""
    node = nodes[place]
    if node["is_leaf"]:
        return float(node["value"])
    if node["feature_idx"] in fixed:
        value = row[node["feature_idx"]]
        goes_left = node["missing_go_to_left"] if np.isnan(value) else value <= node["num_threshold"]
        return expected_of_boosting(nodes, row, fixed, int(node["left"] if goes_left else node["right"]))
    sides = (
        nodes[side]["count"] * expected_of_boosting(nodes, row, fixed, side) for side in (node["left"], node["right"])
    )
    return float(sum(sides) / node["count"])


def assert_explained(explainer: explain.Explainer, row: Matrix, worth: Worth) -> None:
    explanation = explain.explain(type(explainer).from_bytes(explainer.to_bytes()), row)
    assert explanation.base_value == pytest.approx(worth([]), abs=1e-9)
    assert explanation.contributions == pytest.approx(shapley(worth, len(row)), abs=1e-6)


@pytest.mark.parametrize("kind", [RandomForestClassifier, ExtraTreesClassifier])
def test_a_forest_is_explained_in_probability(kind: Any, rows: Matrix, late: NDArray[np.bool_]) -> None:
    forest = kind(n_estimators=5, max_depth=4, random_state=0).fit(rows, late)

    explainer = tree_readers.of_forest(forest, rows)

    assert explainer.scale == "probability"
    grown = [each.tree_ for each in forest.estimators_]
    for row, probability in zip(rows[:8], forest.predict_proba(rows[:8])[:, 1], strict=True):
        assert_explained(explainer, row, expected_of(grown, row))
        assert explain.explain(explainer, row).probability == pytest.approx(probability, abs=1e-9)


def test_a_forest_behind_an_imputer_is_explained_by_its_original_features(
    rows: Matrix, late: NDArray[np.bool_]
) -> None:
    forest = make_pipeline(SimpleImputer(), ExtraTreesClassifier(5, max_depth=4, random_state=0)).fit(rows, late)
    grown = [each.tree_ for each in forest[-1].estimators_]

    explainer = tree_readers.of_forest(forest, rows)

    for row in rows[np.isnan(rows).any(axis=1)][:8]:
        filled = forest[0].transform(row[None])[0]
        assert_explained(explainer, row, expected_of(grown, filled))
        assert explain.explain(explainer, row).probability == pytest.approx(forest.predict_proba(row[None])[0, 1])


def test_histogram_boosting_is_explained_in_log_odds(rows: Matrix, late: NDArray[np.bool_]) -> None:
    boosting = HistGradientBoostingClassifier(max_iter=4, max_depth=3, min_samples_leaf=10).fit(rows, late)
    base = float(boosting._baseline_prediction[0, 0])
    grown = [tree.nodes for (tree,) in boosting._predictors]

    def worth(row: Matrix, fixed: Sequence[int]) -> float:
        return base + sum(expected_of_boosting(tree, row, fixed) for tree in grown)

    explainer = tree_readers.of_hist_gradient_boosting(boosting, rows)

    assert explainer.scale == "log_odds"
    for row, margin in zip(rows[:8], boosting.decision_function(rows[:8]), strict=True):
        assert_explained(explainer, row, partial(worth, row))
        assert explain.explain(explainer, row).total == pytest.approx(margin, abs=1e-9)


def test_xgboost_is_explained_as_it_explains_itself() -> None:
    explainer = tree_readers.from_xgboost_json(XGBOOST["model"])

    assert explainer.scale == "log_odds"
    for row, contributions, margin in zip(XGBOOST["rows"], XGBOOST["contributions"], XGBOOST["margins"], strict=True):
        explanation = explain.explain(explainer, np.array(row, np.float32))
        assert [*explanation.contributions, explanation.base_value] == pytest.approx(contributions, abs=1e-6)
        assert explanation.total == pytest.approx(margin, abs=1e-6)


@pytest.mark.slow
def test_a_linear_model_is_explained_against_the_mean_of_typical_rows(rows: Matrix, late: NDArray[np.bool_]) -> None:
    five = np.column_stack([rows[:, 0], rows[:, 0], rows[:, 0], rows[:, 1:3]])  # the first three columns are categories
    five[:, 1:3] = np.random.default_rng(2).integers(0, 4, (len(five), 2))
    present = five[~np.isnan(five[:, 0])]
    fitted = candidates.logistic(LogisticParams(c=1.0), 0).fit(present, late[~np.isnan(five[:, 0])])
    typical = five[100:140]

    def worth(row: Matrix, fixed: Sequence[int]) -> float:
        mixed = typical.copy()
        mixed[:, list(fixed)] = row[list(fixed)]
        return float(fitted.decision_function(mixed).mean())

    explainer = linear.of_logistic(fitted, typical)

    for row in five[:8]:
        explanation = explain.explain(explainer, row)
        assert explanation.contributions == pytest.approx(shapley(partial(worth, row), 5), abs=1e-5)
        assert explanation.total == pytest.approx(float(fitted.decision_function(row[None])[0]), abs=1e-5)


def test_the_probability_is_the_total_on_its_own_scale() -> None:
    added = np.array([0.25, 0.0])

    assert explain.Explanation(0.25, added, "probability").probability == 0.5
    assert explain.Explanation(-0.25, added, "log_odds").probability == 0.5


def test_native_categories_are_refused_because_their_reasons_would_be_wrong(
    rows: Matrix, late: NDArray[np.bool_]
) -> None:
    boosting = HistGradientBoostingClassifier(max_iter=4, categorical_features=[0]).fit(rows, late)

    with pytest.raises(UnsupportedModel, match="native categories: give it the codes as numbers"):
        tree_readers.of_hist_gradient_boosting(boosting, rows)


def test_an_imputer_that_drops_a_column_is_refused(rows: Matrix, late: NDArray[np.bool_]) -> None:
    empty = rows.copy()
    empty[:, 1] = np.nan
    with pytest.warns(UserWarning, match="Skipping features without any observed values"):
        forest = make_pipeline(SimpleImputer(), ExtraTreesClassifier(2)).fit(empty, late)

    with (
        pytest.warns(UserWarning, match="Skipping features"),
        pytest.raises(UnsupportedModel, match=r"SimpleImputer\(keep_empty_features=True\) keeps all"),
    ):
        tree_readers.of_forest(forest, rows)


def test_a_forest_too_large_to_be_explained_in_time_says_so(
    rows: Matrix, late: NDArray[np.bool_], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_readers, "MAX_SLOTS", 10)
    forest = ExtraTreesClassifier(5).fit(rows, late)

    with pytest.raises(TooManyConditions, match=r"more than 10 conditions .* fewer trees or fewer leaves"):
        tree_readers.of_forest(forest, rows)


def test_trees_published_before_they_had_a_scale_are_in_log_odds() -> None:
    explainer = tree_readers.from_xgboost_json(XGBOOST["model"])
    older = {name: array for name, array in vars(explainer).items() if name != "averages_probabilities"}

    assert Trees(**older).scale == "log_odds"


def test_a_file_that_holds_no_linear_model_is_refused() -> None:
    with pytest.raises(NoArrays, match="no linear model in it"):
        linear.Linear.from_bytes(tree_readers.from_xgboost_json(XGBOOST["model"]).to_bytes())
