"""Candidates that would fail after minutes of training are refused before, with the failure and the remedy."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ontime import candidates, tree_readers
from ontime.candidates import CANDIDATES, Candidate, sklearn_onnx
from ontime.params import Params
from ontime.trees import Trees
from pipelines import smoke_test
from pipelines.smoke_test import CandidateRefused, SyntheticSample
from tests import PARAMS_YAML


@pytest.fixture(scope="module")
def sample() -> SyntheticSample:
    return smoke_test.draw_sample(0)


def forest(seed: int | None) -> Any:
    return ExtraTreesClassifier(5, max_depth=4, random_state=seed)


def imputed(seed: int | None) -> Any:
    return make_pipeline(SimpleImputer(keep_empty_features=True), forest(seed))


def wrong_scale(model: Any, rows: candidates.Matrix) -> Trees:
    return replace(tree_readers.of_forest(model, rows), averages_probabilities=np.zeros(1, np.bool_))


def renamed(model: Any) -> Any:
    converted = sklearn_onnx(model)
    converted.graph.name = uuid4().hex
    return converted


class NotProbabilities(LogisticRegression):  # type: ignore[misc]  # scikit-learn ships no types
    def predict_proba(self, matrix: candidates.Matrix) -> Any:
        return 2 * super().predict_proba(np.nan_to_num(matrix))

    def fit(self, matrix: candidates.Matrix, late: Any) -> Any:
        return super().fit(np.nan_to_num(matrix), late)


class OfTheFirstBatch(DummyClassifier):  # type: ignore[misc]  # as above
    def fit(self, rows: Any, label: Any) -> Any:
        matrix = rows if isinstance(rows, np.ndarray) else next(iter(rows))
        return super().fit(matrix, label[: len(matrix)])


REFUSED = {
    "ONNX loses missing values": (
        Candidate(lambda _, seed: forest(seed), export=sklearn_onnx, explain=tree_readers.of_forest),
        r"mine: ONNX differs from the model by 0\.\d+ on rows with missing values \(gate.parity_tolerance 1e-05\): "
        r"put a SimpleImputer before it; see docs/models.md",
    ),
    "no seed": (
        Candidate(lambda _, __: imputed(None), export=sklearn_onnx, explain=tree_readers.of_forest),
        r"mine: two fits differ by 0\.\d+; pass the seed as random_state",
    ),
    "reasons of another scale": (
        Candidate(lambda _, seed: imputed(seed), export=sklearn_onnx, explain=wrong_scale),
        r"mine: its contributions add up to 0\.\d+, not 0\.\d+, on complete rows: `explain` of its entry",
    ),
    "another graph each time": (
        Candidate(lambda _, seed: imputed(seed), export=renamed, explain=tree_readers.of_forest),
        r"mine: the bytes of two exports differ; name the graph: export.GRAPH_NAME",
    ),
    "not all batches": (
        Candidate(lambda _, __: OfTheFirstBatch(strategy="prior"), reads_batches=True),
        r"mine: a fit on batches differs from one on the matrix by [\d.e-]+: remove `reads_batches` from its entry",
    ),
    "no probabilities": (
        Candidate(lambda _, __: NotProbabilities(max_iter=10)),
        r"mine: predict_proba gives [\d.e-]+ to [12](\.\d+)?, not probabilities",
    ),
}


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize("error", REFUSED)
def test_a_candidate_that_would_fail_later_is_refused_with_advice(
    error: str, sample: SyntheticSample, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, message = REFUSED[error]
    monkeypatch.setitem(CANDIDATES, "mine", entry)

    with pytest.raises(CandidateRefused, match=message):
        smoke_test.check_candidate("mine", sample, params)


def test_a_candidate_that_raises_is_named_in_a_note(
    sample: SyntheticSample, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CANDIDATES, "mine", Candidate(lambda _, __: LogisticRegression()))

    with pytest.raises(ValueError, match="Input X contains NaN") as raised:
        smoke_test.check_candidate("mine", sample, params)

    assert raised.value.__notes__ == [
        "smoke_test: mine failed when it was fitted; see docs/models.md for what a candidate must do"
    ]


def test_a_model_without_explanations_has_the_reason(
    sample: SyntheticSample, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        CANDIDATES, "mine", Candidate(lambda _, seed: imputed(seed), export=sklearn_onnx, explain="a secret recipe")
    )

    _, method = smoke_test.check_candidate("mine", sample, params)

    assert (method.method, method.about) == ("none", "a secret recipe")


@pytest.mark.slow
def test_the_candidates_of_params_yaml_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((PARAMS_YAML).read_text())
    monkeypatch.chdir(tmp_path)

    smoke_test.main()

    assert (tmp_path / "data/smoke_test.json").exists()


def test_the_sample_has_rows_of_each_kind_and_both_labels(sample: SyntheticSample) -> None:
    complete, missing, unseen = sample.inputs.values()

    assert not np.isnan(complete).any()
    assert np.isnan(missing).any()
    assert np.isnan(unseen[:, candidates.CATEGORY_POSITIONS]).all()
    assert 0.1 < sample.label.mean() < 0.9
