"""Exports a fitted model to ONNX, which production runs instead of a pickle, without changing its predictions."""

import re
from copy import deepcopy
from typing import Any

import numpy as np
import onnxmltools
from lightgbm import Booster
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper
from onnxmltools.convert.common.data_types import FloatTensorType
from skl2onnx import to_onnx as sklearn_to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier

from ontime import schema
from ontime.boosting import LightGBM
from ontime.candidates import CANDIDATES
from ontime.category_masks import with_category_masks
from ontime.model import Classifier

ONNX_OPSET = 15
IR_VERSION = 8  # of the file format, the one of this opset
MATRIX = "features"  # the name of the input
GRAPH_NAME = "ontime"  # fixed: converters generate a new name each time, and the bytes would differ


class NotExportable(ValueError):
    """A candidate without an export, which cannot be released."""


def to_onnx(name: str, model: Classifier) -> bytes:
    """The fitted candidate as ONNX: float32 [n, features] in, probabilities [n, 2] as the last output."""
    converted = with_category_masks(convert(name, model))
    # Converters store these in a set, whose order differs between processes.
    converted.opset_import.sort(key=lambda imported: imported.domain)
    return bytes(converted.SerializeToString())


def convert(name: str, model: Classifier) -> Any:
    """What the candidate's converter returns. Raises NotExportable for a baseline."""
    export = CANDIDATES[name].export
    if export is None:
        raise NotExportable(f"{name} is a baseline: it has no export in src/ontime/candidates.py")
    return export(model)


def input_type() -> list[tuple[str, FloatTensorType]]:
    """The `initial_types` of onnxmltools' converters."""
    return [(MATRIX, FloatTensorType([None, len(schema.FEATURE_NAMES)]))]


def matrix_input() -> ValueInfoProto:
    """The input of a graph that is built from operators."""
    return helper.make_tensor_value_info(MATRIX, TensorProto.FLOAT, [None, len(schema.FEATURE_NAMES)])


def probabilities_output() -> ValueInfoProto:
    """The output of a graph that is built from operators."""
    return helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])


def from_sklearn(model: Any) -> Any:
    """From an estimator or pipeline that skl2onnx supports."""
    row = np.zeros((1, len(schema.FEATURE_NAMES)), np.float32)
    return sklearn_to_onnx(model, row, target_opset=ONNX_OPSET, options={"zipmap": False}, name=GRAPH_NAME)


def from_hist_gradient_boosting(model: HistGradientBoostingClassifier) -> Any:
    exact = deepcopy(model)
    for trees in exact._predictors:
        for tree in trees:
            tree.nodes["num_threshold"] = _snap(tree.nodes["num_threshold"])
    return from_sklearn(exact)


def from_lightgbm(model: LightGBM) -> Any:
    return onnxmltools.convert_lightgbm(
        Booster(model_str=_snap_lightgbm(model.booster_.model_to_string())),
        initial_types=input_type(),
        target_opset=ONNX_OPSET,
        zipmap=False,
        name=GRAPH_NAME,
    )


def _snap(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest float32 at or below each threshold.

    ONNX stores thresholds as float32. Rounding to the *nearest* moves a threshold between two neighbouring values
    onto the upper one, and an entity takes the other branch. Rounding down keeps the branch of every float32 input.

    >>> _snap(np.array([0.1])).item() <= 0.1 < np.float32(0.1).item()
    True
    """
    with np.errstate(over="ignore"):  # "always left" is 1e308: infinite in float32, then the largest finite
        nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest).astype(np.float64)


def _snap_lightgbm(text: str) -> str:
    def snapped(line: re.Match[str]) -> str:
        return "threshold=" + " ".join(map(repr, _snap(np.array(line[1].split(), np.float64)).tolist()))

    text = re.sub(r"^threshold=(.*)$", snapped, text, flags=re.MULTILINE)
    # The list of tree sizes in bytes is wrong now; without it LightGBM reads the trees one by one.
    return re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)
