"""Exports a neural network to ONNX: the embeddings and layers of neural.py as operators, without Keras."""

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ontime import export
from ontime.neural import NeuralNetwork


class _Graph:
    """Nodes and constants of a graph; each method returns the name of a result."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: Any, kind: Any = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name


def from_neural_network(model: NeuralNetwork) -> ModelProto:
    """The same operations as `NeuralNetwork.predict_proba`, in the same order."""
    graph = _Graph()
    values = graph.add("Concat", *_numbers(graph, model), *_embedded(graph, model), axis=1)
    *hidden, (weights, bias) = model.layers_
    for each, shift in hidden:
        values = graph.add("Relu", graph.add("Gemm", values, graph.constant(each), graph.constant(shift)))
    positive = graph.add("Sigmoid", graph.add("Gemm", values, graph.constant(weights), graph.constant(bias)))
    negative = graph.add("Sub", graph.constant([1]), positive)
    graph.nodes.append(helper.make_node("Concat", [negative, positive], ["probabilities"], axis=1))
    drawn = helper.make_graph(
        graph.nodes, export.GRAPH_NAME, [export.matrix_input()], [export.probabilities_output()], graph.constants
    )
    imports = [helper.make_opsetid("", export.ONNX_OPSET)]
    return helper.make_model(drawn, opset_imports=imports, ir_version=export.IR_VERSION)


def _numbers(graph: _Graph, model: NeuralNetwork) -> list[str]:
    of = model.embedding_
    zero, one = graph.constant(0), graph.constant(1)
    read = graph.add("Gather", export.MATRIX, graph.constant(of.source, np.int64), axis=1)
    bins = graph.add("Mul", graph.add("Sub", read, graph.constant(of.low)), graph.constant(of.per_unit))
    present = graph.add("Where", graph.add("IsNaN", bins), zero, graph.add("Clip", bins, zero, one))
    read = graph.add("Gather", export.MATRIX, graph.constant(of.nullable, np.int64), axis=1)
    return [present, graph.add("Cast", graph.add("IsNaN", read), to=TensorProto.FLOAT)]


def _embedded(graph: _Graph, model: NeuralNetwork) -> list[str]:
    """Of each category, the row of its table: the first one for NaN, or for a code that the table does not have."""
    of, rows = model.embedding_, []
    zero, one = graph.constant(0), graph.constant(1)
    for position, size, table in zip(of.categories, of.sizes, model.tables_, strict=True):
        code = graph.add("Gather", export.MATRIX, graph.constant(position, np.int64), axis=1)
        place = graph.add("Add", graph.add("Where", graph.add("IsNaN", code), graph.constant(-1), code), one)
        fits = graph.add("Less", place, graph.constant(size))
        place = graph.add("Cast", graph.add("Where", fits, place, zero), to=TensorProto.INT64)
        rows.append(graph.add("Gather", graph.constant(table), place, axis=0))
    return rows
