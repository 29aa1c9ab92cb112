"""A tree ensemble as plain arrays for `explain`, stored in a file without code (numpy's .npz).

tree_readers.py extracts them from fitted models. The service loads this module only.
"""

import io
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, TypeVar
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int32]
Flags = NDArray[np.bool_]
Scale = Literal["log_odds", "probability"]
Read = TypeVar("Read")

RENAMED_ARRAYS = {"usual": "base_value"}  # releases that were published before the rename have the old name


class NoArrays(ValueError):
    """The bytes were not written by `pack_arrays` for this class."""


class NoTrees(NoArrays):
    """The bytes were not written by `Trees.to_bytes`."""


def pack_arrays(arrays: Any) -> bytes:
    """The dataclass as an .npz file. The same arrays give the same bytes: `np.savez` would include the time."""
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as archive:
        for name, array in asdict(arrays).items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            archive.writestr(ZipInfo(f"{name}.npy"), content.getvalue(), ZIP_DEFLATED)
    return buffer.getvalue()


def unpack_arrays(kind: type[Read], content: bytes, invalid: type[NoArrays], content_name: str) -> Read:
    """The dataclass that `pack_arrays` wrote. Raises `invalid` for any other bytes; executes nothing in them."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return kind(**{RENAMED_ARRAYS.get(name, name): array for name, array in arrays.items()})
    except (OSError, EOFError, TypeError, ValueError, BadZipFile) as error:
        raise invalid(f"no {content_name} in it: {error}") from None


@dataclass(frozen=True)
class Trees:
    """All trees, flattened. A slot is one feature on the path to one leaf; it may have several conditions.

    Slots are ordered by leaf, conditions by slot. A condition is a node and the side that the path takes there.
    """

    method: ClassVar[Literal["tree_shap"]] = "tree_shap"

    node_feature: Whole  # (nodes,)
    node_threshold: Floats  # left if the value is at or below it
    node_missing_left: Flags  # where a missing value goes
    node_categories: Whole  # row in `categories`, -1 for a number
    categories: Flags  # (categorical nodes, codes): does this code go left?
    condition_node: Whole  # (conditions,)
    condition_left: Flags
    slot_first_condition: Whole  # (slots,)
    slot_feature: Whole
    slot_leaf: Whole
    slot_share: Floats  # z in explain.py
    leaf_first_slot: Whole  # (leaves,)
    leaf_value: Floats  # in the scale below
    base_value: Floats  # (1,), the mean over all training rows, in the scale below
    averages_probabilities: Flags = field(default_factory=lambda: np.zeros(1, np.bool_))  # (1,), True for a forest

    @property
    def scale(self) -> Scale:
        """The scale of the sum of its leaves: boosting sums log-odds, a forest averages probabilities."""
        return "probability" if self.averages_probabilities[0] else "log_odds"

    def to_bytes(self) -> bytes:
        return pack_arrays(self)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Trees":
        """Raises NoTrees for any other bytes; executes nothing in them."""
        return unpack_arrays(cls, content, NoTrees, "trees")
