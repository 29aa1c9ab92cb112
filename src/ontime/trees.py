"""A tree ensemble as plain arrays: what `explain` needs, in a file that holds no code (numpy's .npz).

Read from a fitted model's own attributes, so that neither LightGBM, scikit-learn nor XGBoost is imported here.
"""

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int32]
Flags = NDArray[np.bool_]
Rows = NDArray[np.float32]
Scale = Literal["log_odds", "probability"]
Read = TypeVar("Read")

MOST_SLOTS = 500_000  # of all trees together: about as many as one entity of a request can wait for


class NoArrays(ValueError):
    """The bytes are not what `pack` writes of this class."""


class NoTrees(NoArrays):
    """The bytes are not what `Trees.to_bytes` writes."""


class TooManyConditions(ValueError):
    """The trees are too large to explain an answer while its caller waits."""


class Unreadable(ValueError):
    """The model has something that its explanation does not cover."""


def pack(arrays: Any) -> bytes:
    """What numpy reads as .npz. The same arrays give the same bytes: `np.savez` would put the time into them."""
    written = io.BytesIO()
    with ZipFile(written, "w", ZIP_DEFLATED) as archive:
        for name, array in asdict(arrays).items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            archive.writestr(ZipInfo(f"{name}.npy"), content.getvalue(), ZIP_DEFLATED)
    return written.getvalue()


def unpack(kind: type[Read], content: bytes, refused: type[NoArrays], what: str) -> Read:
    """The dataclass of arrays that `pack` wrote. Raises `refused` for anything else; nothing in it is run."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return kind(**arrays)
    except (OSError, EOFError, TypeError, ValueError, BadZipFile) as error:
        raise refused(f"no {what} in it: {error}") from None


@dataclass(frozen=True)
class Trees:
    """All trees, flat. A slot is one feature on the path to one leaf; it may have several conditions.

    Slots are ordered by leaf, conditions by slot. A condition is a node and the side the path takes there.
    """

    method: ClassVar[Literal["tree_shap"]] = "tree_shap"

    node_feature: Whole  # (nodes,)
    node_threshold: Floats  # left if the value is at or below it
    node_missing_left: Flags  # where an empty value goes
    node_categories: Whole  # row in `categories`, -1 for a number
    categories: Flags  # (categorical nodes, codes): does this code go left?
    condition_node: Whole  # (conditions,)
    condition_left: Flags
    slot_first_condition: Whole  # (slots,)
    slot_feature: Whole
    slot_leaf: Whole
    slot_share: Floats  # z
    leaf_first_slot: Whole  # (leaves,)
    leaf_value: Floats  # in the scale below
    usual: Floats  # (1,), the mean of all: the answer for an entity of which nothing is known
    averages_probabilities: Flags = field(default_factory=lambda: np.zeros(1, np.bool_))  # (1,), as a forest does

    @property
    def scale(self) -> Scale:
        """What its leaves add up to: boosting sums log-odds, a forest averages probabilities."""
        return "probability" if self.averages_probabilities[0] else "log_odds"

    def to_bytes(self) -> bytes:
        return pack(self)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Trees":
        """Raises NoTrees for anything else than such a file; nothing in it is run."""
        return unpack(cls, content, NoTrees, "trees")


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
    """What a walk through all trees collects."""

    nodes: list[_Node] = field(default_factory=list)
    categories: list[tuple[int, ...]] = field(default_factory=list)
    slots: list[_Slot] = field(default_factory=list)
    leaf_values: list[float] = field(default_factory=list)
    usual: float = 0.0


def of_lightgbm(model: Any, _: Rows) -> Trees:
    """Of a fitted LGBMClassifier."""
    return from_lightgbm(model.booster_.dump_model())


def from_lightgbm(dump: Mapping[str, Any]) -> Trees:
    """The trees of `Booster.dump_model()`."""
    return _flat(_lightgbm_tree(tree["tree_structure"]) for tree in dump["tree_info"])


def _lightgbm_tree(node: Mapping[str, Any]) -> _Tree:
    if "leaf_value" in node:
        return _Leaf(node["leaf_value"], node.get("leaf_count", 0))
    left, right = _lightgbm_tree(node["left_child"]), _lightgbm_tree(node["right_child"])
    if node["decision_type"] == "==":
        codes = tuple(int(code) for code in node["threshold"].split("||"))
        return _Split(node["split_feature"], np.nan, False, codes, left, right, node["internal_count"])
    # Where training saw no empty value, LightGBM reads an empty one as zero.
    missing_left = node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0
    return _Split(node["split_feature"], node["threshold"], missing_left, None, left, right, node["internal_count"])


def of_hist_gradient_boosting(model: Any, rows: Rows) -> Trees:
    """Of scikit-learn's histogram boosting, alone or behind an imputer."""
    boosting, fill = _behind_imputer(model, rows)
    nodes = [tree.nodes for trees in boosting._predictors for tree in trees]
    if any(each["is_categorical"].any() for each in nodes):
        raise Unreadable("histogram boosting with native categories: give it the codes as numbers")
    found = (_hist_tree(each, 0, fill) for each in nodes)
    return _flat(found, usual=float(np.ravel(boosting._baseline_prediction)[0]))


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
    """Of scikit-learn's random forest or extra trees, alone or behind an imputer."""
    forest, fill = _behind_imputer(model, rows)
    trees = [each.tree_ for each in forest.estimators_]
    found = (_forest_tree(tree, 0, fill, len(trees)) for tree in trees)
    return replace(_flat(found), averages_probabilities=np.ones(1, np.bool_))


def _forest_tree(tree: Any, place: int, fill: Floats | None, trees: int) -> _Tree:
    cover = float(tree.weighted_n_node_samples[place])
    if tree.children_left[place] < 0:
        on_time, label = tree.value[place, 0]
        return _Leaf(float(label / (on_time + label) / trees), cover)
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
    """Of a fitted XGBClassifier, alone or behind an imputer."""
    boosting, fill = _behind_imputer(model, rows)
    return from_xgboost(json.loads(boosting.get_booster().save_raw("json")), fill)


def from_xgboost(saved: Mapping[str, Any], fill: Floats | None = None) -> Trees:
    """The trees of `Booster.save_raw("json")`, with numbers as features."""
    learner = saved["learner"]
    trees = learner["gradient_booster"]["model"]["trees"]
    if any(tree["categories_nodes"] for tree in trees):
        raise Unreadable("XGBoost with native categories: give it the codes as numbers")
    base = float(learner["learner_model_param"]["base_score"].strip("[]"))
    return _flat((_xgboost_tree(tree, 0, fill) for tree in trees), usual=float(np.log(base / (1 - base))))


def _xgboost_tree(tree: Mapping[str, Any], place: int, fill: Floats | None) -> _Tree:
    cover = float(tree["sum_hessian"][place])
    if tree["left_children"][place] < 0:
        return _Leaf(float(np.float32(tree["split_conditions"][place])), cover)
    feature = int(tree["split_indices"][place])
    # XGBoost goes left *below* its float32 threshold: at or below the float32 before it.
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


def _behind_imputer(model: Any, rows: Rows) -> tuple[Any, Floats | None]:
    """The ensemble of a pipeline, and what its imputer puts in place of missing values; None without one."""
    if not hasattr(model, "steps"):
        return model, None
    *before, (_, ensemble) = model.steps
    if [type(step).__name__ for _, step in before] != ["SimpleImputer"]:
        raise Unreadable("only a SimpleImputer may stand before the trees: reasons speak of the original features")
    filled = before[0][1].transform(np.full((1, rows.shape[1]), np.nan, np.float32))[0].astype(np.float64)
    if len(filled) != rows.shape[1]:
        raise Unreadable("the imputer drops or adds columns: SimpleImputer(keep_empty_features=True) keeps all")
    return ensemble, filled


def _missing_left(fill: Floats | None, feature: int, threshold: float, native: bool) -> bool:
    """Where an empty value goes: by the model's own rule, or where the value goes that the imputer puts there."""
    return native if fill is None else bool(fill[feature] <= threshold)


def _walk(tree: _Tree, path: Mapping[int, _Slot], found: _Ensemble) -> None:
    if isinstance(tree, _Leaf):
        found.usual += tree.value * float(np.prod([slot.share for slot in path.values()]))
        if path:  # a tree without a split says the same of every entity
            found.slots += [slot._replace(leaf=len(found.leaf_values)) for slot in path.values()]
            found.leaf_values.append(tree.value)
        if len(found.slots) > MOST_SLOTS:
            raise TooManyConditions(
                f"its trees have more than {MOST_SLOTS:,} conditions on the way to their leaves, too many to explain "
                "an answer while its caller waits: fewer trees or fewer leaves have reasons"
            )
        return
    place = _add(tree, found)
    before = path.get(tree.feature, _Slot(tree.feature))
    for left, child in ((True, tree.left), (False, tree.right)):
        share = before.share * child.cover / tree.cover
        here = before._replace(share=share, conditions=(*before.conditions, (place, left)))
        _walk(child, {**path, tree.feature: here}, found)


def _add(split: _Split, found: _Ensemble) -> int:
    """The place of the node in the flat list."""
    row = -1
    if split.codes is not None:
        found.categories.append(split.codes)
        row = len(found.categories) - 1
    found.nodes.append(_Node(split.feature, split.threshold, split.missing_left, row))
    return len(found.nodes) - 1


def _flat(trees: Iterable[_Tree], usual: float = 0.0) -> Trees:
    found = _Ensemble(usual=usual)
    for tree in trees:
        _walk(tree, {}, found)
    codes = 1 + max((code for each in found.categories for code in each), default=0)
    categories = np.zeros((max(1, len(found.categories)), codes), np.bool_)
    for row, each in enumerate(found.categories):
        categories[row, each] = True
    conditions = [condition for slot in found.slots for condition in slot.conditions]
    slot_leaf = np.array([slot.leaf for slot in found.slots], np.int32)
    return Trees(
        node_feature=np.array([node.feature for node in found.nodes], np.int32),
        node_threshold=np.array([node.threshold for node in found.nodes], np.float64),
        node_missing_left=np.array([node.missing_left for node in found.nodes], np.bool_),
        node_categories=np.array([node.categories for node in found.nodes], np.int32),
        categories=categories,
        condition_node=np.array([node for node, _ in conditions], np.int32),
        condition_left=np.array([left for _, left in conditions], np.bool_),
        slot_first_condition=np.cumsum([0, *(len(slot.conditions) for slot in found.slots[:-1])], dtype=np.int32),
        slot_feature=np.array([slot.feature for slot in found.slots], np.int32),
        slot_leaf=slot_leaf,
        slot_share=np.array([slot.share for slot in found.slots], np.float64),
        leaf_first_slot=np.flatnonzero(np.diff(slot_leaf, prepend=-1)).astype(np.int32),
        leaf_value=np.array(found.leaf_values, np.float64),
        usual=np.array([found.usual]),
    )
