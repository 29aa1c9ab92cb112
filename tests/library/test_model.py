"""The candidates on three real weeks: same seed same model, honest baselines, and ONNX that says the same."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import helper
from threadpoolctl import threadpool_limits

from ontime import evaluation, export, model, release, schema, split
from ontime.batches import Batches
from ontime.candidates import CANDIDATES, CATEGORY_POSITIONS, exportable
from ontime.category_masks import CODES_IN_A_MASK
from ontime.declaration import ProblemBroken
from ontime.params import Params, Train
from tests.short_fits import short

EXPORTABLE = exportable([*CANDIDATES])


class Weeks(NamedTuple):
    matrix: model.Matrix
    label: model.Labels
    next_matrix: model.Matrix
    next_label: model.Labels


@pytest.fixture(scope="module")
def small(params: Params) -> Train:
    """The real parameters with fewer trees."""
    return short(params.train)


@pytest.fixture(scope="module")
def fitting(weeks: pd.DataFrame) -> Weeks:
    """Two weeks to fit on and one to be judged by."""
    labelled = split.labelled(weeks)
    past, future = labelled[labelled["day"] < "2013-02-18"], labelled[labelled["day"] >= "2013-02-18"]
    categories = model.categories_of(past)
    return Weeks(
        model.matrix_of(past, categories),
        past["label"].to_numpy(),
        model.matrix_of(future, categories),
        future["label"].to_numpy(),
    )


@pytest.mark.parametrize("name", CANDIDATES)
@pytest.mark.slow
def test_the_number_of_threads_changes_no_bit_of_a_model(name: str, fitting: Weeks, small: Train) -> None:
    fitted = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            fitted.append(model.fit(name, fitting.matrix, fitting.label, small))

    first, second = (model.predict(each, fitting.next_matrix) for each in fitted)
    assert np.array_equal(first, second)
    if not CANDIDATES[name].needs:  # CatBoost's file has the time of its training
        assert joblib.hash(pickle.dumps(fitted[0])) == joblib.hash(pickle.dumps(fitted[1]))


@pytest.mark.parametrize("name", ["logistic", "hist_gradient_boosting", "lightgbm"])
@pytest.mark.slow
def test_a_model_that_sees_the_day_beats_the_table_of_rates(name: str, fitting: Weeks, small: Train) -> None:
    probabilities = {
        each: model.predict(model.fit(each, fitting.matrix, fitting.label, small), fitting.next_matrix)
        for each in (name, model.BASELINE)
    }

    losses = {each: evaluation.losses(fitting.next_label, p).mean() for each, p in probabilities.items()}
    assert losses[name] < losses[model.BASELINE]


def test_the_constant_says_the_base_rate(fitting: Weeks, small: Train) -> None:
    probabilities = model.predict(model.fit("constant", fitting.matrix, fitting.label, small), fitting.next_matrix)

    assert np.allclose(probabilities, fitting.label.mean())


def test_a_cell_without_flights_has_the_overall_rate(fitting: Weeks, small: Train) -> None:
    unseen = fitting.next_matrix[:1].copy()
    unseen[:, schema.FEATURE_NAMES.index("carrier")] = np.nan

    fitted = model.fit("rate_table", fitting.matrix, fitting.label, small)

    assert model.predict(fitted, unseen)[0] == fitting.label.mean()


def test_a_cell_is_its_rate_pulled_to_the_overall_rate(small: Train) -> None:
    matrix = np.zeros((100, len(schema.FEATURE_NAMES)), np.float32)
    matrix[50:, schema.FEATURE_NAMES.index("carrier")] = 1
    late = np.arange(100) < 40

    probabilities = model.predict(model.fit("rate_table", matrix, late, small), matrix[[0, 99]])

    prior = small.of("rate_table").model_dump()["prior_rows"]
    assert probabilities == pytest.approx([(40 + prior * 0.4) / (50 + prior), prior * 0.4 / (50 + prior)])


def category_codes(exported: onnx.ModelProto) -> list[float]:
    """The values that the nodes BRANCH_EQ of all tree ensembles compare with."""
    codes = []
    for node in exported.graph.node:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        nodes = zip(attributes.get("nodes_modes", []), attributes.get("nodes_values", []), strict=True)
        codes += [value for mode, value in nodes if mode == b"BRANCH_EQ"]
    return codes


@pytest.fixture(scope="module", params=EXPORTABLE)
def candidate(request: pytest.FixtureRequest, fitting: Weeks, small: Train) -> tuple[str, Any]:
    """The name of a candidate that can be released, and the candidate, fitted."""
    return request.param, model.fit(request.param, fitting.matrix, fitting.label, small)


@pytest.fixture(scope="module")
def rows_of_a_week(fitting: Weeks) -> model.Matrix:
    """The rows of a week, with all features, with request-only features, and without known categories."""
    unseen = fitting.next_matrix.copy()
    unseen[:, CATEGORY_POSITIONS] = np.nan
    return np.vstack([fitting.next_matrix, model.request_only(fitting.next_matrix), unseen])


def test_onnx_says_what_the_native_model_says(
    candidate: tuple[str, Any], rows_of_a_week: model.Matrix, params: Params
) -> None:
    name, fitted = candidate

    probabilities = release.Model(export.to_onnx(name, fitted)).predict(rows_of_a_week)

    assert np.abs(probabilities - model.predict(fitted, rows_of_a_week)).max() <= params.gate.parity_tolerance


def as_converted(name: str, fitted: Any) -> onnx.ModelProto:
    """What the candidate's converter returns, before the category masks."""
    convert = CANDIDATES[name].export
    assert convert
    converted: onnx.ModelProto = convert(fitted)
    return converted


def test_category_masks_change_no_bit_of_a_probability(
    candidate: tuple[str, Any], rows_of_a_week: model.Matrix
) -> None:
    converted = release.Model(as_converted(*candidate).SerializeToString()).predict(rows_of_a_week)

    assert np.array_equal(release.Model(export.to_onnx(*candidate)).predict(rows_of_a_week), converted)


def test_onnx_runtime_can_merge_all_category_tests_of_an_export(candidate: tuple[str, Any]) -> None:
    exported = onnx.load_from_string(export.to_onnx(*candidate))

    onnx.checker.check_model(exported, full_check=True)
    codes = category_codes(exported)
    assert len(codes) == len(category_codes(as_converted(*candidate)))
    assert all(1 <= code <= CODES_IN_A_MASK for code in codes)


@pytest.mark.slow
def test_the_same_model_is_the_same_file_in_every_process(fitting: Weeks, small: Train, tmp_path: Path) -> None:
    """Else a release that is published again would be taken for another one.

    The converters keep operator sets in a set, which the second process orders otherwise.
    """
    fitted = {name: model.fit(name, fitting.matrix, fitting.label, small) for name in EXPORTABLE}
    joblib.dump(fitted, tmp_path / "fitted")
    code = """
import joblib
from ontime import export
print([domain for domain, _ in {("ai.onnx.ml", 1), ("", 1), ("", 7), ("", 9)}])  # as in a model of LightGBM
print([export.to_onnx(name, each) for name, each in joblib.load("fitted").items()])
"""

    (order, files), (other_order, other_files) = (
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout.splitlines()
        for seed in ("0", "20")
    )

    assert order != other_order
    assert files == other_files


@pytest.mark.slow
def test_without_request_only_rows_such_a_flight_is_answered_worse(fitting: Weeks, small: Train) -> None:
    """What params.train.request_only_share is for."""
    shown = model.with_request_only(Batches.of(fitting.matrix), fitting.label, small.request_only_share, small.seed)
    request_only = model.request_only(fitting.next_matrix)

    without = model.predict(model.fit("lightgbm", fitting.matrix, fitting.label, small), request_only)
    with_rows = model.predict(model.fit("lightgbm", *shown, small), request_only)

    assert (
        evaluation.losses(fitting.next_label, with_rows).mean() < evaluation.losses(fitting.next_label, without).mean()
    )


def test_request_only_keeps_the_timetable_and_nothing_else(fitting: Weeks) -> None:
    masked = model.request_only(fitting.matrix)

    assert np.isnan(masked[:, model.ONLINE_POSITIONS]).all()
    kept = [schema.FEATURE_NAMES.index(name) for name in schema.REQUEST]
    assert np.array_equal(masked[:, kept], fitting.matrix[:, kept])


def test_a_category_that_is_not_text_is_refused_by_name(weeks: pd.DataFrame) -> None:
    with pytest.raises(
        ProblemBroken, match=r"features: dest is declared categorical, but (np\.int64\()?3\)? is not text"
    ):
        model.categories_of(weeks.assign(dest=3))
