"""Distillation out of fold, pruning of units, quantisation within a tolerance: on small made-up data."""

from typing import Any

import numpy as np
import pytest

from ontime import distillation, export, pruning, quantisation, release, schema
from ontime.average import Average
from ontime.batches import Matrix
from ontime.neural import Embedding, NeuralNetwork
from ontime.quantisation import Quantised
from ontime.refusal import Refusal

pytestmark = pytest.mark.slow  # imports Keras

ROWS = 400
WIDTH = len(schema.FEATURE_NAMES)
CATEGORY = 0


@pytest.fixture(scope="module")
def rows() -> Matrix:
    drawn = np.random.default_rng(1)
    matrix = drawn.normal(size=(ROWS, WIDTH)).astype(np.float32)
    matrix[:, CATEGORY] = drawn.integers(0, 3, ROWS)
    matrix[::7, 5] = np.nan
    return matrix


@pytest.fixture(scope="module")
def label(rows: Matrix) -> Any:
    return rows[:, 3] > 0.3


def network(**changes: Any) -> NeuralNetwork:
    parameters: dict[str, Any] = {
        "bins": 4, "embedding": 2, "layers": 2, "units": 8, "dropout": 0.0, "learning_rate": 0.01,
        "weight_decay": 0.0, "batch_rows": 32, "epochs": 4, "patience": 4, "seed": 1,
    }  # fmt: skip
    return NeuralNetwork(**parameters | changes)


@pytest.fixture(scope="module")
def fitted(rows: Matrix, label: Any) -> NeuralNetwork:
    return network().fit(rows, label, categories=[CATEGORY])


class Fold:
    """A teacher that gives the mean of the labels that it was fitted on, and remembers its rows."""

    def __init__(self, rows: Matrix, label: Any) -> None:
        self.seen, self.mean = {row.tobytes() for row in rows}, float(np.mean(label))

    def predict_proba(self, rows: Matrix) -> Any:
        assert not self.seen & {row.tobytes() for row in rows}
        return np.column_stack([np.full(len(rows), 1 - self.mean), np.full(len(rows), self.mean)])


def test_a_teacher_never_judges_a_row_that_it_was_fitted_on(rows: Matrix, label: Any) -> None:
    alone = np.arange(ROWS) >= ROWS - 10

    targets = distillation.teacher_targets(rows, label, alone, 4, 0.5, Fold)

    assert np.array_equal(targets[alone], label[alone])
    taught = targets[~alone]
    assert np.all((taught != 0) & (taught != 1))
    assert np.array_equal(taught > 0.5, label[~alone])


def test_a_number_is_a_straight_line_within_its_bin_and_flat_beyond_all() -> None:
    values = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]], np.float32)

    embedding = Embedding.of(values, [], bins=2)

    inputs = embedding.numbers(np.array([[-9.0], [1.0], [2.0], [3.0], [99.0], [np.nan]], np.float32))
    assert inputs.tolist() == [[0, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 1], [0, 0]]


def test_a_missing_number_is_told_from_a_small_one_if_training_had_any() -> None:
    embedding = Embedding.of(np.array([[0.0], [4.0], [np.nan]], np.float32), [], bins=1)

    assert embedding.numbers(np.array([[0.0], [np.nan]], np.float32)).tolist() == [[0, 0], [0, 1]]


def test_an_unseen_category_is_like_a_missing_one(fitted: NeuralNetwork, rows: Matrix) -> None:
    unseen, missing = rows[:5].copy(), rows[:5].copy()
    unseen[:, CATEGORY], missing[:, CATEGORY] = 77, np.nan

    assert np.array_equal(fitted.predict_proba(unseen), fitted.predict_proba(missing))
    served = release.Model(export.to_onnx("neural_network", fitted))
    assert np.allclose(served.predict(unseen), fitted.predict_proba(missing)[:, 1], atol=1e-6)


def test_a_network_learns_and_its_curves_say_how(fitted: NeuralNetwork, rows: Matrix, label: Any) -> None:
    assert np.corrcoef(fitted.predict_proba(rows)[:, 1], label)[0, 1] > 0.3
    assert [*fitted.curves_] == ["fitted_loss", "held_out_loss"]
    assert fitted.curves_["fitted_loss"][-1] < fitted.curves_["fitted_loss"][0]


def test_pruning_removes_the_units_that_do_nothing(fitted: NeuralNetwork, rows: Matrix) -> None:
    (weights, bias), *others = fitted.layers_
    weights, bias = weights.copy(), bias.copy()
    weights[:, 2] = bias[2] = 0
    idle = network()
    idle.embedding_, idle.tables_, idle.layers_ = fitted.embedding_, fitted.tables_, [(weights, bias), *others]

    smaller = pruning.pruned(idle, 7)

    assert [layer.shape[1] for layer, _ in smaller.layers_] == [7, 7, 1]
    once = network()
    once.embedding_, once.tables_ = idle.embedding_, idle.tables_
    once.layers_ = [smaller.layers_[0], (np.delete(others[0][0], 2, axis=0), others[0][1]), others[1]]
    assert np.allclose(once.predict_proba(rows), idle.predict_proba(rows), atol=1e-6)


def test_fine_tuning_begins_with_the_weights_of_the_network(fitted: NeuralNetwork, rows: Matrix, label: Any) -> None:
    still = NeuralNetwork(**fitted.get_params() | {"learning_rate": 1e-12})

    still.fit(rows, label, begin_with=fitted)

    assert np.allclose(still.predict_proba(rows), fitted.predict_proba(rows), atol=1e-5)
    assert [each.shape for each, _ in pruning.fine_tuned(pruning.pruned(fitted, 4), rows, label, 1).layers_] == [
        (fitted.layers_[0][0].shape[0], 4), (4, 4), (4, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("to", ["int8", "int8_static", "float16"])
def test_a_quantised_model_is_smaller_and_nearly_the_same(to: Any, rows: Matrix, label: Any) -> None:
    wide = network(units=128, epochs=1).fit(rows, label, categories=[CATEGORY])

    def fit_member(*_: Any, **__: Any) -> Any:
        return wide

    model = Quantised(of="neural_network", format=to, tolerance=0.1, seed=1).fit(rows, label, fit_member)

    exact = export.to_onnx("neural_network", wide)
    assert len(model.onnx_) < 0.7 * len(exact)
    difference = np.abs(model.predict_proba(rows)[:, 1] - wide.predict_proba(rows)[:, 1]).max()
    assert 0 < difference <= model.largest_change_ <= 0.1
    with pytest.raises(Refusal, match=rf"{to} changes a probability of neural_network by 0\.\d+, more than"):
        Quantised(of="neural_network", format=to, tolerance=1e-9, seed=1).fit(rows, label, fit_member)


def test_an_average_is_the_mean_of_its_members_also_as_onnx(fitted: NeuralNetwork, rows: Matrix, label: Any) -> None:
    other = network(seed=2).fit(rows, label, categories=[CATEGORY])
    members = {1: fitted, 2: other}

    model = Average(["neural_network"], 2, 1).fit(rows, label, lambda _, seed, *__: members[seed])

    mean = (fitted.predict_proba(rows) + other.predict_proba(rows)) / 2
    assert np.allclose(model.predict_proba(rows), mean)
    assert np.allclose(release.Model(export.to_onnx("average", model)).predict(rows), mean[:, 1], atol=1e-6)


def test_a_range_of_int8_is_read_from_evenly_spaced_rows(rows: Matrix) -> None:
    assert np.array_equal(quantisation.spaced(rows, 2), rows[[0, -1]], equal_nan=True)
