"""Reads the trees of a fitted model into the arrays of trees.py.

Reads the model's own attributes, so that neither LightGBM, scikit-learn nor XGBoost is imported here.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ontime.trees import Floats, Trees

Rows = NDArray[np.float32]

MAX_SLOTS = 500_000  # of all trees together: about as many as can be explained while a request waits


class TooManyConditions(ValueError):
    """The trees are too large to be explained while a request waits."""


class UnsupportedModel(ValueError):
    """The model has a property that the readers do not support."""


class _Leaf(NamedTuple):
    value: float
    cover: float  # training rows, or their weight


class _Split(NamedTuple):
    feature: int
    threshold: float  # left if the value is at or below it
    missing_left: bool
    codes: tuple[int, ...] | None  # the categories that go left; None for a number
    left: "_Leaf | _Split"
    right: "_Leaf | _Split"
    cover: float


_Tree = _Leaf | _Split


class _Node(NamedTuple):
    feature: int
    threshold: float
    missing_left: bool
    categories: int


class _Slot(NamedTuple):
    feature: int
    leaf: int = -1
    share: float = 1.0
    conditions: tuple[tuple[int, bool], ...] = ()


@dataclass
class _Ensemble:
    """Collects the nodes, slots and leaves of all trees."""

    nodes: list[_Node] = field(default_factory=list)
    categories: list[tuple[int, ...]] = field(default_factory=list)
    slots: list[_Slot] = field(default_factory=list)
    leaf_values: list[float] = field(default_factory=list)
    base_value: float = 0.0


def of_lightgbm(model: Any, _: Rows) -> Trees:
    """From a fitted `boosting.LightGBM`, or LightGBM's own LGBMClassifier."""
    return from_lightgbm_dump(model.booster_.dump_model())


def from_lightgbm_dump(dump: Mapping[str, Any]) -> Trees:
    """The trees of `Booster.dump_model()`."""
    return _flat(_lightgbm_tree(tree["tree_structure"]) for tree in dump["tree_info"])


def _lightgbm_tree(node: Mapping[str, Any]) -> _Tree:
    if "leaf_value" in node:
        return _Leaf(node["leaf_value"], node.get("leaf_count", 0))
    left, right = _lightgbm_tree(node["left_child"]), _lightgbm_tree(node["right_child"])
    if node["decision_type"] == "==":
        codes = tuple(int(code) for code in node["threshold"].split("||"))
        return _Split(node["split_feature"], np.nan, False, codes, left, right, node["internal_count"])
    # If training had no missing value, LightGBM treats a missing one as zero.
    missing_left = node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0
    return _Split(node["split_feature"], node["threshold"], missing_left, None, left, right, node["internal_count"])


def of_hist_gradient_boosting(model: Any, rows: Rows) -> Trees:
    """From scikit-learn's histogram boosting, alone or after an imputer."""
    boosting, fill = _split_off_imputer(model, rows)
    nodes = [tree.nodes for trees in boosting._predictors for tree in trees]
    if any(each["is_categorical"].any() for each in nodes):
        raise UnsupportedModel("histogram boosting with native categories: give it the codes as numbers")
    trees = (_hist_tree(each, 0, fill) for each in nodes)
    return _flat(trees, base_value=float(np.ravel(boosting._baseline_prediction)[0]))


def _hist_tree(nodes: Any, place: int, fill: Floats | None) -> _Tree:
    node = nodes[place]
    if node["is_leaf"]:
        return _Leaf(float(node["value"]), float(node["count"]))
    feature, threshold = int(node["feature_idx"]), float(node["num_threshold"])
    return _Split(
        feature,
        threshold,
        _missing_left(fill, feature, threshold, bool(node["missing_go_to_left"])),
        None,
        _hist_tree(nodes, int(node["left"]), fill),
        _hist_tree(nodes, int(node["right"]), fill),
        float(node["count"]),
    )


def of_forest(model: Any, rows: Rows) -> Trees:
    """From scikit-learn's random forest or extra trees, alone or after an imputer."""
    forest, fill = _split_off_imputer(model, rows)
    trees = [each.tree_ for each in forest.estimators_]
    flat = _flat(_forest_tree(tree, 0, fill, len(trees)) for tree in trees)
    return replace(flat, averages_probabilities=np.ones(1, np.bool_))


def _forest_tree(tree: Any, place: int, fill: Floats | None, trees: int) -> _Tree:
    cover = float(tree.weighted_n_node_samples[place])
    if tree.children_left[place] < 0:
        negative, positive = tree.value[place, 0]
        return _Leaf(float(positive / (negative + positive) / trees), cover)
    feature, threshold = int(tree.feature[place]), float(tree.threshold[place])
    return _Split(
        feature,
        threshold,
        _missing_left(fill, feature, threshold, bool(tree.missing_go_to_left[place])),
        None,
        _forest_tree(tree, int(tree.children_left[place]), fill, trees),
        _forest_tree(tree, int(tree.children_right[place]), fill, trees),
        cover,
    )


def of_xgboost(model: Any, rows: Rows) -> Trees:
    """From a fitted XGBClassifier, alone or after an imputer."""
    boosting, fill = _split_off_imputer(model, rows)
    return from_xgboost_json(json.loads(boosting.get_booster().save_raw("json")), fill)


def from_xgboost_json(saved: Mapping[str, Any], fill: Floats | None = None) -> Trees:
    """The trees of `Booster.save_raw("json")`, with numeric features only."""
    learner = saved["learner"]
    trees = learner["gradient_booster"]["model"]["trees"]
    if any(tree["categories_nodes"] for tree in trees):
        raise UnsupportedModel("XGBoost with native categories: give it the codes as numbers")
    base = float(learner["learner_model_param"]["base_score"].strip("[]"))
    return _flat((_xgboost_tree(tree, 0, fill) for tree in trees), base_value=float(np.log(base / (1 - base))))


def _xgboost_tree(tree: Mapping[str, Any], place: int, fill: Floats | None) -> _Tree:
    cover = float(tree["sum_hessian"][place])
    if tree["left_children"][place] < 0:
        return _Leaf(float(np.float32(tree["split_conditions"][place])), cover)
    feature = int(tree["split_indices"][place])
    # XGBoost goes left *below* its float32 threshold, which is at or below the previous float32.
    threshold = float(np.nextafter(np.float32(tree["split_conditions"][place]), np.float32(-np.inf)))
    return _Split(
        feature,
        threshold,
        _missing_left(fill, feature, threshold, bool(tree["default_left"][place])),
        None,
        _xgboost_tree(tree, tree["left_children"][place], fill),
        _xgboost_tree(tree, tree["right_children"][place], fill),
        cover,
    )


def _split_off_imputer(model: Any, rows: Rows) -> tuple[Any, Floats | None]:
    """The ensemble of a pipeline, and the values that its imputer fills in; None without an imputer."""
    if not hasattr(model, "steps"):
        return model, None
    *before, (_, trees) = model.steps
    if [type(step).__name__ for _, step in before] != ["SimpleImputer"]:
        raise UnsupportedModel("only a SimpleImputer may precede the trees: reasons refer to the original features")
    filled = before[0][1].transform(np.full((1, rows.shape[1]), np.nan, np.float32))[0].astype(np.float64)
    if len(filled) != rows.shape[1]:
        raise UnsupportedModel("the imputer drops or adds columns: SimpleImputer(keep_empty_features=True) keeps all")
    return trees, filled


def _missing_left(fill: Floats | None, feature: int, threshold: float, native: bool) -> bool:
    """Whether a missing value goes left: by the model's own rule, or as the value that the imputer fills in."""
    return native if fill is None else bool(fill[feature] <= threshold)


def _walk(tree: _Tree, path: Mapping[int, _Slot], ensemble: _Ensemble) -> None:
    if isinstance(tree, _Leaf):
        ensemble.base_value += tree.value * float(np.prod([slot.share for slot in path.values()]))
        if path:  # a tree without a split is the same for every entity
            ensemble.slots += [slot._replace(leaf=len(ensemble.leaf_values)) for slot in path.values()]
            ensemble.leaf_values.append(tree.value)
        if len(ensemble.slots) > MAX_SLOTS:
            raise TooManyConditions(
                f"its trees have more than {MAX_SLOTS:,} conditions on the paths to their leaves, too many to explain "
                "a prediction while its request waits: use fewer trees or fewer leaves"
            )
        return
    place = _add(tree, ensemble)
    before = path.get(tree.feature, _Slot(tree.feature))
    for left, child in ((True, tree.left), (False, tree.right)):
        share = before.share * child.cover / tree.cover
        here = before._replace(share=share, conditions=(*before.conditions, (place, left)))
        _walk(child, {**path, tree.feature: here}, ensemble)


def _add(split: _Split, ensemble: _Ensemble) -> int:
    """Append the node to the flat list; return its position."""
    row = -1
    if split.codes is not None:
        ensemble.categories.append(split.codes)
        row = len(ensemble.categories) - 1
    ensemble.nodes.append(_Node(split.feature, split.threshold, split.missing_left, row))
    return len(ensemble.nodes) - 1


def _flat(trees: Iterable[_Tree], base_value: float = 0.0) -> Trees:
    ensemble = _Ensemble(base_value=base_value)
    for tree in trees:
        _walk(tree, {}, ensemble)
    codes = 1 + max((code for each in ensemble.categories for code in each), default=0)
    categories = np.zeros((max(1, len(ensemble.categories)), codes), np.bool_)
    for row, each in enumerate(ensemble.categories):
        categories[row, each] = True
    conditions = [condition for slot in ensemble.slots for condition in slot.conditions]
    slot_leaf = np.array([slot.leaf for slot in ensemble.slots], np.int32)
    return Trees(
        node_feature=np.array([node.feature for node in ensemble.nodes], np.int32),
        node_threshold=np.array([node.threshold for node in ensemble.nodes], np.float64),
        node_missing_left=np.array([node.missing_left for node in ensemble.nodes], np.bool_),
        node_categories=np.array([node.categories for node in ensemble.nodes], np.int32),
        categories=categories,
        condition_node=np.array([node for node, _ in conditions], np.int32),
        condition_left=np.array([left for _, left in conditions], np.bool_),
        slot_first_condition=np.cumsum([0, *(len(slot.conditions) for slot in ensemble.slots[:-1])], dtype=np.int32),
        slot_feature=np.array([slot.feature for slot in ensemble.slots], np.int32),
        slot_leaf=slot_leaf,
        slot_share=np.array([slot.share for slot in ensemble.slots], np.float64),
        leaf_first_slot=np.flatnonzero(np.diff(slot_leaf, prepend=-1)).astype(np.int32),
        leaf_value=np.array(ensemble.leaf_values, np.float64),
        base_value=np.array([ensemble.base_value]),
    )
