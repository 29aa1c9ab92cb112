"""Exports an average to ONNX: the graphs of its members beside each other, and the mean of their probabilities."""

from onnx import ModelProto, compose, helper, load_model_from_string

from ontime import export
from ontime.average import Average


def from_average(model: Average) -> ModelProto:
    """The members' graphs read one input; the nodes of each keep a prefix of their own."""
    nodes, constants, outputs, opsets = [], [], [], dict[str, int]()
    for place, (name, member) in enumerate(model.members_):
        exported = compose.add_prefix(load_model_from_string(export.to_onnx(name, member)), f"{place}/")
        (matrix,) = exported.graph.input
        for node in exported.graph.node:
            node.input[:] = [export.MATRIX if each == matrix.name else each for each in node.input]
        nodes += exported.graph.node
        constants += exported.graph.initializer
        outputs.append(exported.graph.output[-1].name)
        for imported in exported.opset_import:
            opsets[imported.domain] = max(imported.version, opsets.get(imported.domain, 1))
    nodes.append(helper.make_node("Mean", outputs, ["probabilities"]))
    graph = helper.make_graph(
        nodes, export.GRAPH_NAME, [export.matrix_input()], [export.probabilities_output()], constants
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=export.IR_VERSION)
