"""Valid ONNX files that no service can use: each takes other inputs, returns something else, fails, or never ends."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ontime import schema

WIDTH = len(schema.FEATURE_NAMES)
GIGABYTES = 24

MakeModel = Callable[[], bytes]


def _file(nodes: list[onnx.NodeProto], output: onnx.ValueInfoProto, *more_inputs: onnx.ValueInfoProto) -> bytes:
    entities = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, WIDTH])
    graph = helper.make_graph(nodes, "hostile", [entities, *more_inputs], [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    return bytes(model.SerializeToString())


def _constant(name: str, value: object, dtype: type) -> onnx.NodeProto:
    tensor = numpy_helper.from_array(np.array(value, dtype=dtype))
    return helper.make_node("Constant", [], [name], value=tensor)


def _output(kind: int, *shape: int | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("y", kind, list(shape))


def _two_columns() -> list[onnx.NodeProto]:
    return [_constant("columns", [0, 1], np.int64), helper.make_node("Gather", ["x", "columns"], ["two"], axis=1)]


def two_inputs() -> bytes:
    second = helper.make_tensor_value_info("second", TensorProto.FLOAT, [None, 2])
    nodes = [*_two_columns(), helper.make_node("Add", ["two", "second"], ["y"])]
    return _file(nodes, _output(TensorProto.FLOAT, None, 2), second)


def one_dimension() -> bytes:
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)]
    return _file([_constant("axes", [1], np.int64), *nodes], _output(TensorProto.FLOAT, None))


def strings() -> bytes:
    nodes = [*_two_columns(), helper.make_node("Cast", ["two"], ["y"], to=TensorProto.STRING)]
    return _file(nodes, _output(TensorProto.STRING, None, 2))


def fails_to_run() -> bytes:
    """It looks up column 200 of the input; the index depends on the input, so nothing finds it before."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        _constant("far", [200, 200], np.int64),
        helper.make_node("Add", ["shape", "far"], ["columns"]),
        helper.make_node("Gather", ["x", "columns"], ["y"], axis=1),
    ]
    return _file(nodes, _output(TensorProto.FLOAT, None, 2))


def never_ends() -> bytes:
    """A loop without a limit, whose condition stays true."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_in"], ["go_out"]), helper.make_node("Abs", ["state_in"], ["state_out"])],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_out", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        *_two_columns(),
        _constant("go", True, bool),
        helper.make_node("Loop", ["", "go", "two"], ["y"], body=body),
    ]
    return _file(nodes, _output(TensorProto.FLOAT, None, 2))


def large_constant() -> bytes:
    """A few bytes that become a constant of 24 GB when it is loaded."""
    nodes = [
        *_two_columns(),
        _constant("shape", [GIGABYTES * 2**28], np.int64),
        helper.make_node("ConstantOfShape", ["shape"], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0),
        helper.make_node("Add", ["two", "sum"], ["y"]),
    ]
    return _file(nodes, _output(TensorProto.FLOAT, None, 2))
