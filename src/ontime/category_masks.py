"""Rewrites an exported tree ensemble so that ONNX Runtime tests many categories at once, with the same results.

The converters' operators have no test for a set of categories. LightGBM's split on 17 of them becomes a chain of 17
nodes BRANCH_EQ: each leads to the next one if it is false, and all lead to the same node if they are true. When ONNX
Runtime loads a model, it merges neighbours in such a chain into one node with a bit mask, but only those that compare
with 1 to 32, the bits of a float32 threshold (https://github.com/microsoft/onnxruntime/pull/21222). Codes of categories
begin at 0, and a feature may have more than 32.

So the graph gets a column for each block of 32 codes of a feature, `code - 32 * block + 1`, and the nodes compare that
column with 1 to 32. Whole numbers below 2**24 are exact in float32 and NaN stays NaN, so every row takes the same
branches as before.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

CODES_IN_A_MASK = 32
EXACT_IN_FLOAT32 = 2**24
TREE_ENSEMBLES = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")

Attributes = Mapping[str, AttributeProto]
Block = tuple[int, int]  # the column of a feature, and the number of a block of its codes


def with_category_masks(model: ModelProto) -> ModelProto:
    """A copy of the model in which category tests compare with 1 to 32. Its input and its outputs are the same.

    The ensemble must read the model's input, a float32 matrix: another one stays as it is.
    """
    rewritten = ModelProto()
    rewritten.CopyFrom(model)
    matrix = rewritten.graph.input[0]
    if matrix.type.tensor_type.elem_type == TensorProto.FLOAT:
        width = matrix.type.tensor_type.shape.dim[1].dim_value
        for node in [*rewritten.graph.node]:
            if node.op_type in TREE_ENSEMBLES and node.input[0] == matrix.name:
                _add_columns(rewritten.graph, node, _compare_within_blocks(node, width))
    return rewritten


def _compare_within_blocks(ensemble: NodeProto, width: int) -> list[Block]:
    """Let the category tests read columns of blocks, from column `width` on; returns the block of each such column.

    The codes of a chain are sorted, so that those of a block are neighbours.
    """
    attributes = {each.name: each for each in ensemble.attribute}
    features, values = attributes["nodes_featureids"].ints, attributes["nodes_values"].floats
    columns: dict[Block, int] = {}
    for chain in _chains_of_category_tests(attributes):
        feature, codes = features[chain[0]], sorted(values[position] for position in chain)
        if not all(code.is_integer() and 0 <= code < EXACT_IN_FLOAT32 for code in codes):
            continue
        for position, code in zip(chain, map(int, codes), strict=True):
            block, bit = divmod(code, CODES_IN_A_MASK)
            features[position] = columns.setdefault((feature, block), width + len(columns))
            values[position] = bit + 1
    return list(columns)


def _chains_of_category_tests(attributes: Attributes) -> Iterator[list[int]]:
    """The positions of nodes BRANCH_EQ that lead to each other if false, and have the same feature and true branch.

    So their values may change places. Chains that send a missing value both ways are left out: ONNX Runtime would send
    it one way where it merges them.
    """
    trees, features, true_ids, false_ids, ids = (
        attributes[f"nodes_{name}ids"].ints for name in ("tree", "feature", "truenode", "falsenode", "node")
    )
    alike = [*zip(trees, features, true_ids, strict=True)]
    positions = {node: position for position, node in enumerate(zip(trees, ids, strict=True))}
    tests = [position for position, mode in enumerate(attributes["nodes_modes"].strings) if mode == b"BRANCH_EQ"]
    following = {position: positions[trees[position], false_ids[position]] for position in tests}
    following = {each: after for each, after in following.items() if after in following and alike[after] == alike[each]}
    missing = attributes.get("nodes_missing_value_tracks_true", AttributeProto()).ints
    later = set(following.values())
    for first in tests:
        if first not in later:
            chain = [first]
            while chain[-1] in following:
                chain.append(following[chain[-1]])
            if not missing or len({missing[position] for position in chain}) == 1:
                yield chain


def _add_columns(graph: GraphProto, ensemble: NodeProto, blocks: list[Block]) -> None:
    """Append a column for each of the blocks to the matrix that the ensemble reads."""
    if not blocks:
        return
    matrix, prefix = ensemble.input[0], ensemble.output[0]
    features, offsets, codes, places, wide = (
        f"{prefix}_{name}" for name in ("features", "offsets", "codes", "places_in_block", "features_and_blocks")
    )
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([feature for feature, _ in blocks], np.int64), features),
            numpy_helper.from_array(np.array([CODES_IN_A_MASK * n - 1 for _, n in blocks], np.float32), offsets),
        ]
    )
    ensemble.input[0] = wide
    for node in (
        helper.make_node("Concat", [matrix, places], [wide], axis=1),
        helper.make_node("Sub", [codes, offsets], [places]),
        helper.make_node("Gather", [matrix, features], [codes], axis=1),
    ):
        graph.node.insert(0, node)  # first, because a node must follow those whose outputs it reads
