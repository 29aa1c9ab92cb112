"""The studies of models: who takes part, fits that are kept until the study is finished, and pages with its numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ontime import export, model, schema, study_plots
from ontime.batches import Batches
from ontime.candidates import CATEGORY_POSITIONS
from ontime.explain import method_of
from ontime.feature_worth import SEEDS
from ontime.params import Params, Train
from ontime.refusal import Refusal
from pipelines.labelled import LabelledRows
from pipelines.layout import TrainingMissing
from pipelines.tools import (
    marked_pages,
    study_candidate,
    study_compression,
    study_fits,
    study_models,
    study_pages,
)
from pipelines.tools.study_fits import Fitted, StudyData, StudyModel
from tests.short_fits import short

ROWS = 240


@pytest.fixture
def data() -> StudyData:
    drawn = np.random.default_rng(5)
    matrix = drawn.normal(size=(ROWS, len(schema.FEATURE_NAMES))).astype(np.float32)
    matrix[:, CATEGORY_POSITIONS] = 1
    label = drawn.random(ROWS) < 1 / (1 + np.exp(-2 * matrix[:, 20]))
    day = np.datetime64("2013-01-01") + np.arange(ROWS) // 24
    rows = LabelledRows(rows=Batches.of(matrix), label=label, day=day, keys=np.arange(ROWS, dtype=np.uint64))
    return StudyData(rows, rows, rows, matrix, matrix)


class Fits:
    """A model whose fits are counted; the one with the number `stops_at` is interrupted."""

    def __init__(self, stops_at: int = 0) -> None:
        self.seeds: list[int] = []
        self.stops_at = stops_at

    def __call__(self, train: Train, rows: model.Matrix, label: Any) -> Fitted:
        self.seeds.append(train.seed)
        if len(self.seeds) == self.stops_at:
            raise KeyboardInterrupt
        few = train.changed("hist_gradient_boosting", max_iter=5, min_samples_leaf=5)
        fitted = model.fit("hist_gradient_boosting", rows, label, few)
        onnx = export.to_onnx("hist_gradient_boosting", fitted)
        return Fitted(lambda matrix: model.predict(fitted, matrix), onnx, method_of("none"))


def test_an_interrupted_study_goes_on_and_a_finished_one_begins_anew(
    data: StudyData, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_fits, "KEPT", tmp_path / "studies")
    first, again, finished, changed = Fits(stops_at=3), Fits(), Fits(), Fits()

    def fit(fits: Fits, of: Params = params) -> Any:
        return study_fits.fit_all("models", [StudyModel("some", "", fits)], data, of)["some"]

    with pytest.raises(KeyboardInterrupt):
        fit(first)
    results = fit(again)
    assert first.seeds[:2] == [params.train.seed, params.train.seed + 1]
    assert again.seeds == [params.train.seed + 2]
    fit(changed, params.model_copy(update={"dataset": "another"}))
    assert len(changed.seeds) == SEEDS
    study_fits.forget_fits("models")
    anew = fit(finished)
    assert len(finished.seeds) == SEEDS
    assert all(np.array_equal(one.valid, other.valid) for one, other in zip(results, anew, strict=True))


def test_what_is_measured_is_that_of_the_onnx_file(
    data: StudyData, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_fits, "KEPT", tmp_path / "studies")
    fits = study_fits.fit_all("models", [StudyModel("some", "", Fits())], data, params)["some"]

    costs = study_fits.costs_of(fits)

    assert costs["size_kb"] == round(fits[0].size_bytes / 1000, 1) > 1
    assert 0 < costs["parity"] < 1e-6
    assert costs["batch_row_us"] < costs["row_us"]
    assert costs["explanation"] == "none"


def test_the_best_comes_first_and_no_two_averages_share_a_seed(params: Params) -> None:
    models = study_models.compared_models("xgboost", params.train)

    names = [each.name for each in models]
    assert names[0] == "xgboost"
    assert set(names) >= {"lightgbm", "catboost", "neural_network", "average", "3 seeds"}
    assert not {"constant", "rate_table", "distilled", "quantised"} & {*names}
    assert len(set(names)) == len(names)
    seeds = [SEEDS * seed + each for seed in range(2013, 2013 + SEEDS) for each in range(SEEDS)]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.slow
def test_every_small_model_of_the_study_can_be_fitted_and_served(data: StudyData, params: Params) -> None:
    train = short(params.train).changed("lightgbm", min_child_samples=5)
    models = study_compression.compression_models("hist_gradient_boosting", train)
    rows, label = data.fitted_rows(train)

    sizes = {each.name: study_fits.measure_fit(each, train, rows, label, data).size_bytes for each in models}

    assert len(sizes) == len(models)
    assert sizes["30 trees"] < sizes["60 trees"] < sizes["120 trees"]
    assert sizes["network, int8"] < sizes["network"]
    assert sizes["8 leaves"] > 0


def test_fewer_trees_learn_as_much_in_all_up_to_a_limit_for_each(params: Params) -> None:
    train = params.train.changed("lightgbm", n_estimators=250, learning_rate=0.06)

    rates = {count: study_compression.fewer_trees(train, count)["learning_rate"] for count in (30, 60, 120, 500)}

    assert rates == {30: 0.25, 60: 0.25, 120: pytest.approx(0.125), 500: 0.06}
    fast = train.changed("lightgbm", learning_rate=0.4)
    assert study_compression.fewer_trees(fast, 60) == {"n_estimators": 60, "learning_rate": 0.4}


@pytest.mark.slow
def test_the_first_trees_are_those_of_the_model(data: StudyData, params: Params) -> None:
    rows, label = data.fitted_rows(params.train)
    fitted = model.fit("lightgbm", rows, label, params.train.changed("lightgbm", n_estimators=9, min_child_samples=5))

    first = study_compression.first_trees(fitted, 4)  # type: ignore[arg-type]  # it is a LightGBM

    assert first.booster_.num_trees() == 4
    expected = fitted.booster_.predict(rows, num_iteration=4)  # type: ignore[attr-defined]  # as above
    assert np.allclose(model.predict(first, rows), expected)


def test_without_something_to_compress_the_study_says_what_is_missing(params: Params) -> None:
    others = {name: each for name, each in params.train.parameters.items() if name in ("lightgbm", "logistic")}
    train = params.train.model_copy(update={"parameters": others})

    with pytest.raises(Refusal, match=r"params\.yaml has no train\.neural_network: this study compresses it"):
        study_compression.compression_models("lightgbm", train)


def row(name: str, loss: float, verdict: str, **costs: float) -> dict[str, Any]:
    numbers = {"fit_seconds": 2.0, "cpu_seconds": 3.0, "row_us": 21.0, "batch_row_us": 5.5, "size_kb": 500.0}
    return {
        "name": name, "words": f"what {name} is", "valid": {"log_loss": loss},
        "test": {"auc": 0.77, "log_loss": 0.46, "cost_per_1000": 450.0},
        "worth": {"value": 0.36 - loss, "low": -0.001, "high": 0.002, "seed_deviation": 0.0004}, "verdict": verdict,
        "costs": {**numbers, **costs, "parity": 3e-7, "explanation": "tree_shap"},
        "promote": False, "gate": "not better",
    }  # fmt: skip


def report(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "dataset": "some", "best": "lightgbm", "seeds": 3, "least_difference": 0.0009, "trained_on": 2000,
        "judged_on": 1200, "tested_on": 1100, "rows": rows,
    }  # fmt: skip


ROWS_OF_MODELS = [row("lightgbm", 0.36, "within noise"), row("neural_network", 0.362, "worse", size_kb=1521.0)]


def test_the_page_of_models_has_the_numbers_of_the_report() -> None:
    text = f"# Mine\n\n{study_pages.MODELS.begin}previous\n{marked_pages.END}\nThe story.\n"

    page = study_pages.MODELS.with_results(text, report(ROWS_OF_MODELS))

    assert page.startswith("# Mine\n")
    assert page.endswith("\nThe story.\n")
    assert "previous" not in page
    assert (
        "| **neural network**: what neural_network is | 0.3620 | -0.0020 (-0.0010 to +0.0020) | 0.0004 | worse |"
        in page
    )
    assert "| neural network | 2.0 | 3.0 | 1,521 kB | 21 µs | 5.5 µs | 3e-07 | tree shap |" in page
    assert study_pages.MODELS.with_results(page, report(ROWS_OF_MODELS)) == page


def test_the_page_of_compression_has_the_numbers_of_the_report() -> None:
    rows = [row("lightgbm", 0.36, "within noise"), row("60 trees", 0.361, "within noise", size_kb=100.0)]

    page = study_pages.COMPRESSION.with_results("", report(rows))

    assert "| **60 trees**: what 60 trees is | 0.3610 | -0.0010 (-0.0010 to +0.0020) | within noise |" in page
    assert study_plots.compression(report(rows)).finding.replace("\xa0", " ") == (
        "60 trees is as good as lightgbm, with 20 % of its size"
    )


def test_if_all_smaller_models_are_worse_the_picture_says_so() -> None:
    small, large = row("60 trees", 0.37, "worse", size_kb=100.0), row("average", 0.36, "within noise", size_kb=999.0)
    rows = [row("lightgbm", 0.36, "within noise"), small, large]

    assert study_plots.compression(report(rows)).finding == (
        "Every smaller model is worse than lightgbm; the closest, 60 trees, loses 0.0100"
    )


@pytest.mark.parametrize("name", ["no_such", "rate_table"])
def test_a_candidate_that_cannot_be_released_is_not_compared(name: str, params: Params) -> None:
    with pytest.raises(Refusal, match=rf"^{name} has no section in params.yaml, or no `export`; .*lightgbm"):
        study_candidate.challenger(name, params)


def test_the_best_candidate_is_not_compared_with_itself(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_candidate, "best_candidate", lambda: "lightgbm")

    with pytest.raises(Refusal, match="lightgbm is the best of the last training"):
        study_candidate.print_verdict(study_candidate.challenger("lightgbm", params), params)


def test_without_a_finished_training_nothing_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(TrainingMissing, match=r"^models/training.json is not there: run `make train`.* wait for its"):
        study_models.best_candidate()
