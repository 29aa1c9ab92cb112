"""A fitted model as ONNX, exactly: the file that production runs, in place of a pickle."""

import re
from copy import deepcopy

import numpy as np
import onnxmltools
from lightgbm import Booster, LGBMClassifier
from numpy.typing import NDArray
from onnxmltools.convert.common.data_types import FloatTensorType
from skl2onnx import to_onnx as sklearn_to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier

from ontime import schema
from ontime.model import Classifier
from ontime.trees import Trees, from_lightgbm

ONNX_OPSET = 15
GRAPH = "ontime"  # a name of their own making would be another one each time, and so would the bytes


def to_onnx(model: Classifier) -> bytes:
    """The fitted model as ONNX: float32 [n, features] in, probabilities [n, 2] as the last output."""
    width = len(schema.FEATURE_NAMES)
    if isinstance(model, LGBMClassifier):
        converted = onnxmltools.convert_lightgbm(
            Booster(model_str=_snap_lightgbm(model.booster_.model_to_string())),
            initial_types=[("features", FloatTensorType([None, width]))],
            target_opset=ONNX_OPSET,
            zipmap=False,
            name=GRAPH,
        )
    else:
        exact = _snap_hist_gradient_boosting(model) if isinstance(model, HistGradientBoostingClassifier) else model
        converted = sklearn_to_onnx(
            exact, np.zeros((1, width), np.float32), target_opset=ONNX_OPSET, options={"zipmap": False}, name=GRAPH
        )
    # The converters keep these in a set, and a set's order is another one in one process of eight.
    converted.opset_import.sort(key=lambda imported: imported.domain)
    return bytes(converted.SerializeToString())


def trees_of(model: Classifier) -> Trees | None:
    """What reasons are computed from; None for a model that is not LightGBM's."""
    return from_lightgbm(model.booster_.dump_model()) if isinstance(model, LGBMClassifier) else None


def _snap(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest float32 at or below each threshold.

    ONNX holds thresholds as float32. Rounded to the *nearest*, one that lies between two neighbouring values
    moves onto the upper, and a flight takes the other branch. Rounded down, every float32 input goes where it went.
    """
    with np.errstate(over="ignore"):  # "always left" is 1e308: infinite in float32, then the largest finite
        nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest).astype(np.float64)


def _snap_lightgbm(text: str) -> str:
    def snapped(line: re.Match[str]) -> str:
        return "threshold=" + " ".join(map(repr, _snap(np.array(line[1].split(), np.float64)).tolist()))

    text = re.sub(r"^threshold=(.*)$", snapped, text, flags=re.MULTILINE)
    # Each tree is found by its length in bytes, which has changed; without the list LightGBM reads them one by one.
    return re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)


def _snap_hist_gradient_boosting(model: HistGradientBoostingClassifier) -> HistGradientBoostingClassifier:
    exact = deepcopy(model)
    for trees in exact._predictors:
        for tree in trees:
            tree.nodes["num_threshold"] = _snap(tree.nodes["num_threshold"])
    return exact
