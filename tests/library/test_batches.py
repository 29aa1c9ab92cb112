"""Rows in batches are those of the matrix, and LightGBM makes the same model of both."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier

from ontime.batches import Batches, Matrix
from ontime.boosting import LightGBM

SETTINGS: dict[str, Any] = {"n_estimators": 8, "min_child_samples": 100, "feature_fraction": 0.5, "deterministic": True,
            "force_row_wise": True, "verbosity": -1}  # fmt: skip
ROWS = 5_000
RARE = 40  # fewer rows than min_child_samples, more than LightGBM's default of 20


def in_parts(matrix: Matrix, rows: int) -> Batches:
    return Batches(len(matrix), lambda: (matrix[first : first + rows] for first in range(0, len(matrix), rows)))


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    """Numbers, a category, missing values, and rare values that LightGBM drops before it fits."""
    drawn = np.random.default_rng(1)
    matrix = drawn.normal(size=(ROWS, 9)).astype(np.float32)
    matrix[:, 0] = drawn.integers(0, 12, ROWS)
    matrix[drawn.random(matrix.shape) < 0.1] = np.nan
    matrix[:, 7:] = 0
    matrix[drawn.permutation(ROWS)[:RARE], 7] = 1
    return matrix


@pytest.fixture(scope="module")
def label(matrix: Matrix) -> np.ndarray:
    odds = np.nan_to_num(matrix[:, 1]) + (np.nan_to_num(matrix[:, 0]) > 6)
    return np.asarray(np.random.default_rng(2).random(ROWS) < 1 / (1 + np.exp(-odds)))


@pytest.mark.parametrize("sampled_rows", [200_000, 1_000])
@pytest.mark.parametrize("rows_of_a_batch", [1, 700, 4_096, ROWS])
def test_batches_give_the_model_of_the_matrix(
    matrix: Matrix, label: np.ndarray, rows_of_a_batch: int, sampled_rows: int
) -> None:
    settings = {**SETTINGS, "bin_construct_sample_cnt": sampled_rows}
    arguments: dict[str, Any] = {"categorical_feature": [0], "sample_weight": np.linspace(1, 2, ROWS)}

    whole = LightGBM({"objective": "binary", **settings}).fit(matrix, label, **arguments)
    fitted = LightGBM({"objective": "binary", **settings}).fit(in_parts(matrix, rows_of_a_batch), label, **arguments)

    assert fitted.booster_.model_to_string() == whole.booster_.model_to_string()
    theirs = LGBMClassifier(**settings).fit(matrix, label, **arguments)
    assert whole.booster_.model_to_string() == theirs.booster_.model_to_string()
    assert np.array_equal(fitted.predict_proba(matrix), theirs.predict_proba(matrix))


def test_all_rows_in_memory_are_the_matrix(matrix: Matrix) -> None:
    assert in_parts(matrix, 999).in_memory().tobytes() == matrix.tobytes()


@pytest.mark.parametrize("change", [-1, 1])
def test_a_source_that_changed_between_two_passes_is_refused(matrix: Matrix, label: np.ndarray, change: int) -> None:
    later = matrix[:change] if change < 0 else np.vstack([matrix, matrix[:change]])
    passes = iter([matrix, later])

    def read() -> Iterator[Matrix]:
        rows = next(passes)
        return iter([rows[:2_000], rows[2_000:]])

    with pytest.raises(ValueError, match=f"the batches have {len(later):,} rows, not 5,000: their source has changed"):
        LightGBM({"objective": "binary", **SETTINGS}).fit(Batches(ROWS, read), label)


def test_no_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="there are no batches"):
        Batches(0, lambda: iter([])).in_memory()
