"""Category tests of a tree ensemble: ONNX Runtime can merge them after the rewriting, and nothing else changes."""

from typing import Any

import lightgbm
import numpy as np
import onnx
import onnxmltools
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper
from onnxmltools.convert.common.data_types import FloatTensorType

from ontime.category_masks import CODES_IN_A_MASK, with_category_masks

CATEGORY, NUMBER, WIDTH = 0, 1, 3
NAN = np.float32(np.nan)


def fitted(categories: int) -> ModelProto:
    """LightGBM on a feature with that many categories, a number and a second categorical feature, as ONNX."""
    generator = np.random.default_rng(categories)
    rows = generator.normal(size=(4_000, WIDTH))
    rows[:, CATEGORY] = generator.integers(categories, size=len(rows))
    rows[:, 2] = generator.integers(3, size=len(rows))
    rows[::9] = np.nan
    effects = generator.normal(size=categories)
    score = effects[np.nan_to_num(rows[:, CATEGORY]).astype(int)] + np.nan_to_num(rows[:, NUMBER])
    parameters = {
        "objective": "binary", "min_data_in_leaf": 20, "min_data_per_group": 1, "cat_smooth": 1, "max_cat_to_onehot": 1,
        "max_cat_threshold": 100, "num_threads": 1, "deterministic": True, "verbosity": -1,
    }  # fmt: skip
    dataset = lightgbm.Dataset(rows, score > generator.normal(size=len(rows)), categorical_feature=[CATEGORY, 2])
    return onnxmltools.convert_lightgbm(
        lightgbm.train(parameters, dataset, num_boost_round=20),
        initial_types=[("rows", FloatTensorType([None, WIDTH]))],
        target_opset=15,
        zipmap=False,
    )


def rows_with(codes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each of these codes beside several numbers and codes of the other feature, and missing values everywhere."""
    others = np.array([-2, -0.5, 0, 0.5, 2, np.nan], np.float32)
    grid = np.meshgrid(np.append(codes, NAN), others, np.array([0, 1, 2, 3, np.nan], np.float32))
    return np.stack([each.ravel() for each in grid], axis=1)


def outputs_of(model: ModelProto, rows: NDArray[np.float32]) -> list[NDArray[Any]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: rows})


def ensemble_of(model: ModelProto) -> dict[str, Any]:
    """The attributes of the model's only tree ensemble, as values of Python."""
    (node,) = (each for each in model.graph.node if each.op_type.startswith("TreeEnsemble"))
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def category_tests(model: ModelProto) -> list[tuple[int, float]]:
    """The column and the value of each node BRANCH_EQ."""
    ensemble = ensemble_of(model)
    nodes = zip(ensemble["nodes_modes"], ensemble["nodes_featureids"], ensemble["nodes_values"], strict=True)
    return [(feature, value) for mode, feature, value in nodes if mode == b"BRANCH_EQ"]


def handmade(*tests: tuple[int, float, int], missing: tuple[int, ...] | None = None) -> ModelProto:
    """A chain of category tests: feature, value, and the leaf where it ends if true. Another leaf if none is true.

    The result is the number of the leaf.
    """
    count, leaves = len(tests), max(leaf for *_, leaf in tests) + 2
    nodes: dict[str, list[Any]] = {
        "featureids": [feature for feature, *_ in tests] + [0] * leaves,
        "falsenodeids": [*range(1, count), count + leaves - 1] + [0] * leaves,
        "missing_value_tracks_true": [*(missing or [0] * count)] + [0] * leaves,
        "modes": ["BRANCH_EQ"] * count + ["LEAF"] * leaves,
        "nodeids": [*range(count + leaves)],
        "treeids": [0] * (count + leaves),
        "truenodeids": [count + leaf for *_, leaf in tests] + [0] * leaves,
        "values": [float(value) for _, value, _ in tests] + [0.0] * leaves,
    }
    ensemble: NodeProto = helper.make_node(
        "TreeEnsembleRegressor", ["rows"], ["leaf"], domain="ai.onnx.ml", n_targets=1,
        target_ids=[0] * leaves, target_nodeids=[*range(count, count + leaves)], target_treeids=[0] * leaves,
        target_weights=[*map(float, range(leaves))],
        **{f"nodes_{name}": each for name, each in nodes.items()},  # type: ignore[arg-type]  # could be `doc_string`
    )  # fmt: skip
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, WIDTH])
    leaf = helper.make_tensor_value_info("leaf", TensorProto.FLOAT, [None, 1])
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    graph = helper.make_graph([ensemble], "handmade", [rows], [leaf])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("categories", [1, 2, 31, 32, 33, 64, 65, 100])
def test_all_outputs_stay_the_same_bit_for_bit(categories: int) -> None:
    before = fitted(categories)
    unseen = [categories, categories + 1, 4 * CODES_IN_A_MASK, 5_000, -1]
    rows = rows_with(np.array([*range(categories), *unseen], np.float32))

    after = with_category_masks(before)

    for old, new in zip(outputs_of(before, rows), outputs_of(after, rows), strict=True):
        assert np.array_equal(old, new)


@pytest.mark.parametrize("categories", [3, 32, 33, 100])
def test_onnx_runtime_can_merge_every_category_test(categories: int) -> None:
    """It merges those that compare with 1 to 32. Before, the tests on the first category and on all above 32 do not."""
    before = fitted(categories)

    after = with_category_masks(before)

    values = [value for _, value in category_tests(after)]
    assert len(values) == len(category_tests(before)) > 0
    assert {1 <= value <= CODES_IN_A_MASK for value in values} == {True}
    assert min(value for _, value in category_tests(before)) == 0


def test_the_model_stays_valid_and_takes_and_returns_the_same() -> None:
    before = fitted(100)

    after = with_category_masks(before)

    onnx.checker.check_model(after, full_check=True)
    assert after.graph.input == before.graph.input
    assert after.graph.output == before.graph.output
    assert after.opset_import == before.opset_import


def test_the_given_model_is_not_changed() -> None:
    model = fitted(100)
    before = model.SerializeToString()

    with_category_masks(model)

    assert model.SerializeToString() == before


def test_the_codes_of_a_block_become_neighbours() -> None:
    model = handmade((CATEGORY, 40, 0), (CATEGORY, 0, 0), (CATEGORY, 70, 0), (CATEGORY, 33, 0), (CATEGORY, 31, 0))

    after = with_category_masks(model)

    first, second, third = range(WIDTH, WIDTH + 3)
    assert category_tests(after) == [(first, 1), (first, 32), (second, 2), (second, 9), (third, 7)]


@pytest.mark.parametrize(
    "tests",
    [
        ((CATEGORY, 40, 0), (CATEGORY, 0, 1), (CATEGORY, 40, 0), (CATEGORY, 1, 0)),  # two leaves
        ((CATEGORY, 5, 0), (2, 40, 0), (2, 0, 0), (CATEGORY, 0, 0)),  # two features
        ((CATEGORY, 40, 0), (CATEGORY, 40, 0), (CATEGORY, 1, 0)),  # the same twice
    ],
    ids=["two leaves", "two features", "twice"],
)
def test_only_tests_that_may_change_places_do(tests: tuple[tuple[int, float, int], ...]) -> None:
    model, rows = handmade(*tests), rows_with(np.arange(60, dtype=np.float32))
    rows[:, 2] = rows[::-1, CATEGORY]

    after = with_category_masks(model)

    assert category_tests(after) != category_tests(model)
    assert np.array_equal(outputs_of(model, rows)[0], outputs_of(after, rows)[0], equal_nan=True)


def test_a_chain_that_sends_missing_values_both_ways_stays() -> None:
    model = handmade((CATEGORY, 40, 0), (CATEGORY, 33, 0), missing=(0, 1))

    assert with_category_masks(model) == model


def test_a_model_may_say_nothing_of_missing_values() -> None:
    model = handmade((CATEGORY, 40, 0), (CATEGORY, 0, 0))
    attributes = model.graph.node[0].attribute
    attributes.remove(next(each for each in attributes if each.name == "nodes_missing_value_tracks_true"))

    assert category_tests(with_category_masks(model)) == [(WIDTH, 1), (WIDTH + 1, 9)]


@pytest.mark.parametrize("value", [0.5, -1, 2**24, np.inf])
def test_a_value_that_is_not_the_code_of_a_category_stays(value: float) -> None:
    model = handmade((CATEGORY, value, 0), (CATEGORY, 1, 0))

    assert with_category_masks(model) == model


def test_an_ensemble_that_reads_something_else_stays() -> None:
    model = handmade((CATEGORY, 0, 0), (CATEGORY, 40, 0))
    model.graph.node[0].input[0] = "others"
    model.graph.node.insert(0, helper.make_node("Neg", ["rows"], ["others"]))

    assert with_category_masks(model) == model
