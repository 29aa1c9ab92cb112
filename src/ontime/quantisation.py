"""Quantisation: the ONNX file of a neural network with smaller numbers, by ONNX Runtime's own tools."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, load_model_from_string, numpy_helper
from onnxruntime import quantization
from sklearn.base import BaseEstimator, ClassifierMixin

from ontime import export, release
from ontime.batches import Matrix
from ontime.candidate import FitMember
from ontime.refusal import Refusal

Format = Literal["int8", "int8_static", "float16"]
CALIBRATION_ROWS = 5_000  # that int8_static reads, evenly spaced, to choose the range of each result
COMPARED_ROWS = 20_000


class Quantised(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A candidate whose ONNX file has 8-bit weights, or 16-bit numbers. It predicts as this file does, also here.

    `int8` computes the ranges of inputs anew in each prediction, `int8_static` has them from rows of the training.
    `tolerance`: how much a probability may differ from that of the candidate itself.
    """

    def __init__(self, *, of: str, format: Format, tolerance: float, seed: int) -> None:  # noqa: A002
        self.of = of
        self.format = format
        self.tolerance = tolerance
        self.seed = seed

    def fit(self, rows: Matrix, label: NDArray[np.bool_], fit_member: FitMember) -> Self:
        """Raises Refusal if a probability changes by more than `tolerance`."""
        self.classes_ = np.array([False, True])
        self.n_features_in_ = rows.shape[1]
        exact = fit_member(self.of, self.seed, rows, label)
        self.onnx_ = quantise(export.to_onnx(self.of, exact), self.format, rows)
        compared = spaced(rows, COMPARED_ROWS)
        change = np.abs(release.Model(self.onnx_).predict(compared) - exact.predict_proba(compared)[:, 1])
        self.largest_change_ = float(change.max())
        if not self.largest_change_ <= self.tolerance:
            raise Refusal(
                f"{self.format} changes a probability of {self.of} by {self.largest_change_:.3f}, more than "
                f"train.quantised.tolerance {self.tolerance:g}"
            )
        return self

    def predict_proba(self, matrix: Matrix) -> NDArray[np.float32]:
        positive = release.Model(self.onnx_).predict(matrix)
        return np.column_stack([1 - positive, positive])


def spaced(rows: Matrix, count: int) -> Matrix:
    """At most `count` rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows)), dtype=int)]


def quantise(onnx: bytes, to: Format, rows: Matrix) -> bytes:
    """The ONNX model with smaller numbers; `rows` of its input are used by int8_static only."""
    if to == "float16":
        return _half(load_model_from_string(onnx)).SerializeToString()
    with tempfile.TemporaryDirectory() as folder, _without_advice():
        given, written = Path(folder) / "model.onnx", Path(folder) / "quantised.onnx"
        given.write_bytes(onnx)
        if to == "int8":
            quantization.quantize_dynamic(given, written, op_types_to_quantize=["Gemm", "MatMul", "Gather"])
        else:
            quantization.quantize_static(
                given, written, _Calibration(spaced(rows, CALIBRATION_ROWS)), op_types_to_quantize=["Gemm"]
            )
        return written.read_bytes()


@contextmanager
def _without_advice() -> Iterator[None]:
    """ONNX Runtime advises a step before quantisation that fuses convolutions, which this model has none of."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _half(model: ModelProto) -> ModelProto:
    """The weights of the layers with 16 bits; a node turns them into 32 before they are used, as processors want."""
    graph = model.graph
    layers = {name for node in graph.node if node.op_type == "Gemm" for name in node.input[1:]}
    casts = []
    for constant in graph.initializer:
        if constant.name in layers:
            halved = numpy_helper.to_array(constant).astype(np.float16)
            casts.append(helper.make_node("Cast", [f"{constant.name}_16"], [constant.name], to=TensorProto.FLOAT))
            constant.CopyFrom(numpy_helper.from_array(halved, f"{constant.name}_16"))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


class _Calibration(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    def __init__(self, rows: Matrix) -> None:
        self._batches: Iterator[Matrix] = iter(np.array_split(rows, 10))

    def get_next(self) -> dict[str, Matrix] | None:
        batch = next(self._batches, None)
        return None if batch is None else {export.MATRIX: batch}
