"""A tree ensemble as plain arrays: what `explain` needs, in a file that holds no code (numpy's .npz)."""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int32]
Flags = NDArray[np.bool_]


class NoTrees(ValueError):
    """The bytes are not what `Trees.to_bytes` writes."""


@dataclass(frozen=True)
class Trees:
    """All trees, flat. A slot is one feature on the path to one leaf; it may have several conditions.

    Slots are ordered by leaf, conditions by slot. A condition is a node and the side the path takes there.
    """

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
    leaf_value: Floats  # log-odds
    usual: Floats  # (1,), the mean of all: log-odds of a flight of which nothing is known

    def to_bytes(self) -> bytes:
        """What numpy reads as .npz. The same trees give the same bytes: `np.savez` would put the time into them."""
        written = io.BytesIO()
        with ZipFile(written, "w", ZIP_DEFLATED) as archive:
            for name, array in asdict(self).items():
                content = io.BytesIO()
                np.save(content, array, allow_pickle=False)
                archive.writestr(ZipInfo(f"{name}.npy"), content.getvalue(), ZIP_DEFLATED)
        return written.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Trees":
        """Raises NoTrees for anything else than such a file; nothing in it is run."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return cls(**arrays)
        except (OSError, EOFError, TypeError, ValueError, BadZipFile) as error:
            raise NoTrees(f"no trees in it: {error}") from None


class _Node(NamedTuple):
    feature: int
    threshold: float
    missing_left: bool
    categories: int


@dataclass(frozen=True)
class _Slot:
    feature: int
    leaf: int = -1
    share: float = 1.0
    conditions: tuple[tuple[int, bool], ...] = ()


@dataclass
class _Ensemble:
    """What a walk through all trees collects."""

    nodes: list[_Node] = field(default_factory=list)
    categories: list[list[int]] = field(default_factory=list)
    slots: list[_Slot] = field(default_factory=list)
    leaf_values: list[float] = field(default_factory=list)
    usual: float = 0.0


def from_lightgbm(dump: Mapping[str, Any]) -> Trees:
    """The trees of `Booster.dump_model()`."""
    found = _Ensemble()
    for tree in dump["tree_info"]:
        _walk(tree["tree_structure"], {}, found)
    return _flat(found)


def _walk(node: Mapping[str, Any], path: Mapping[int, _Slot], found: _Ensemble) -> None:
    if "leaf_value" in node:
        found.usual += node["leaf_value"] * float(np.prod([slot.share for slot in path.values()]))
        if path:  # a tree without a split says the same of every flight
            found.slots += [replace(slot, leaf=len(found.leaf_values)) for slot in path.values()]
            found.leaf_values.append(node["leaf_value"])
        return
    place, feature = _add(node, found), node["split_feature"]
    before = path.get(feature, _Slot(feature))
    for left, child in ((True, node["left_child"]), (False, node["right_child"])):
        count = child["leaf_count"] if "leaf_value" in child else child["internal_count"]
        share = before.share * count / node["internal_count"]
        here = replace(before, share=share, conditions=(*before.conditions, (place, left)))
        _walk(child, {**path, feature: here}, found)


def _add(node: Mapping[str, Any], found: _Ensemble) -> int:
    """The place of the node in the flat list."""
    if node["decision_type"] == "==":
        found.categories.append([int(code) for code in node["threshold"].split("||")])
        added = _Node(node["split_feature"], np.nan, False, len(found.categories) - 1)
    else:
        # Where training saw no empty value, LightGBM reads an empty one as zero.
        missing_left = node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0
        added = _Node(node["split_feature"], node["threshold"], missing_left, -1)
    found.nodes.append(added)
    return len(found.nodes) - 1


def _flat(found: _Ensemble) -> Trees:
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
