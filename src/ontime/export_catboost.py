"""Exports CatBoost to ONNX."""

import tempfile
from pathlib import Path
from typing import Any

from onnx import ModelProto, helper, load

from ontime import export


def from_catboost(model: Any) -> ModelProto:
    """CatBoost's own trees, without the table of labels around their probabilities and without the time of training."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.save_model(str(path), format="onnx")
        written = load(path)
    trees, _ = written.graph.node
    trees.output[:] = [trees.output[0], "probabilities"]
    graph = helper.make_graph([trees], export.GRAPH_NAME, [export.matrix_input()], [export.probabilities_output()])
    return helper.make_model(graph, opset_imports=written.opset_import, ir_version=written.ir_version)
