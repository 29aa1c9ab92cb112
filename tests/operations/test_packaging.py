"""From a model to a release: parity with ONNX over every row, files, manifest, and the gate."""

from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from ontime import database, export, leaks, model, release, release_pointer, split
from ontime.batches import Batches
from ontime.datasets import Tables
from ontime.params import Params
from pipelines import train
from pipelines.labelled import LabelledRows
from pipelines.operations import packaging, promotion_gate
from pipelines.operations.packaging import BestModel
from pipelines.tools import prediction_deviation

# For a model of a few trees, evaluated on its training data: it has little skill and is not calibrated.
LENIENT = {"first_calibration": 0.15, "first_skill": 0.01}


@pytest.fixture(scope="module")
def best(weeks: pd.DataFrame, params: Params) -> BestModel:
    labelled = split.labelled(weeks)
    categories = model.categories_of(labelled)
    matrix, late = model.matrix_of(labelled, categories), labelled["label"].to_numpy()
    few = params.train.changed("lightgbm", n_estimators=5)
    native = model.fit("lightgbm", matrix, late, few)
    predictions = pd.DataFrame(
        {"lightgbm": model.predict(native, matrix), "rate_table": np.full(len(labelled), late.mean())}
    )
    training = {"best": "lightgbm", "categories": categories, "base_rate": float(late.mean())}
    explainer = packaging.explainer_of("lightgbm", native, categories, labelled)
    onnx, nobody = export.to_onnx("lightgbm", native), np.array([], "<u8")
    return BestModel("lightgbm", native, onnx, training, labelled, predictions, explainer, trained_on=nobody)


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return database.connect(f"sqlite:///{tmp_path}/ontime.db")


def test_a_faithful_onnx_file_passes(best: BestModel, params: Params) -> None:
    packaging.refuse_disparity(best, params.gate.parity_tolerance)


def test_an_onnx_file_of_another_model_is_refused(best: BestModel, params: Params) -> None:
    matrix = model.matrix_of(best.entities, best.training["categories"])
    other = model.fit("logistic", matrix, best.entities["label"].to_numpy(), params.train)
    wrong = best._replace(onnx=export.to_onnx("logistic", other))

    with pytest.raises(release.ReleaseRefused, match=r"model.onnx: differs from lightgbm by 0\.\d+ .*most at \w+-"):
        packaging.refuse_disparity(wrong, params.gate.parity_tolerance)


def test_a_model_does_not_deviate_from_itself(best: BestModel) -> None:
    deviation = prediction_deviation.deviation_between(best.onnx, best)

    assert (deviation.entities, deviation.largest) == (len(best.entities), 0.0)


def test_another_registered_model_deviates_and_the_worst_flight_is_named(best: BestModel, params: Params) -> None:
    matrix = model.matrix_of(best.entities, best.training["categories"])
    other = model.fit("logistic", matrix, best.entities["label"].to_numpy(), params.train)
    differences = np.abs(model.predict(other, matrix) - model.predict(best.native, matrix))

    deviation = prediction_deviation.deviation_between(export.to_onnx("logistic", other), best)

    assert deviation.largest == pytest.approx(differences.max(), abs=1e-5)
    assert deviation.entity_id == best.entities["entity_id"].iloc[differences.argmax()]


def test_the_first_champion_must_beat_the_rate_table(
    best: BestModel, params: Params, tmp_path: Path, engine: sa.Engine
) -> None:
    lenient = params.model_copy(update={"gate": params.gate.model_copy(update=LENIENT)})

    verdict, against = promotion_gate.run_gate(best, tmp_path, engine, lenient)

    assert against == "baseline rate_table"
    assert verdict.promote


def test_a_release_is_compared_through_its_own_onnx_file(
    best: BestModel, params: Params, tables: Tables, tmp_path: Path, engine: sa.Engine
) -> None:
    timetable = tables["flights"].set_index("entity_id", drop=False)
    categories = best.training["categories"]
    contents = packaging.files_of(best.explainer, best.onnx, categories, best.entities, timetable)
    release.publish(tmp_path, contents, packaging.manifest(best, "1", "run", "commit", {}, params, contents))
    release_pointer.set_live(tmp_path, "1")

    verdict, against = promotion_gate.run_gate(best, tmp_path, engine, params)

    assert against == "release 1"
    assert (verdict.promote, verdict.difference) == (False, 0.0)


class ShortTraining(NamedTuple):
    """Two candidates on the days of a month."""

    rows: LabelledRows
    later: LabelledRows
    categories: dict[str, tuple[str, ...]]
    params: Params

    def fit(self, folder: Path) -> dict[str, Any]:
        return train.fit_candidates(self.rows, self.later, self.categories, self.params, folder)


@pytest.fixture
def short_training(weeks: pd.DataFrame, params: Params) -> ShortTraining:
    labelled = split.labelled(weeks)
    days = {"train_from": date(2013, 2, 4), "valid_from": date(2013, 2, 15), "test_from": date(2013, 2, 25)}
    few = params.model_copy(
        update={
            "train": params.train.model_copy(update={"candidates": ["constant", "logistic", "lightgbm"]}),
            "split": params.split.model_copy(update=days),
        }
    )
    periods = split.periods(few.split)
    before, after = (split.within(labelled, periods[name]) for name in ("train", "valid"))
    categories = model.categories_of(before)
    rows, later = (
        LabelledRows.of(iter([each]), Batches.of(model.matrix_of(each, categories))) for each in (before, after)
    )
    return ShortTraining(rows, later, categories, few)


def test_candidates_are_fitted_saved_and_scored(
    short_training: ShortTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "ONE_SEED", 0.0001)

    fitted = short_training.fit(tmp_path)

    losses = {name: scores["log_loss"] for name, scores in fitted["valid"].items()}
    assert fitted["best"] == min(losses, key=lambda name: losses[name])
    assert fitted["log_loss_by_seed"] == fitted["curves"] == {}
    assert {path.stem for path in tmp_path.glob("*.joblib")} == {"constant", "logistic", "lightgbm"}
    assert joblib.load(tmp_path / "logistic.joblib").n_features_in_ == 85


def test_candidates_that_one_seed_cannot_tell_apart_are_compared_by_the_mean_of_three(
    short_training: ShortTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "ONE_SEED", 1.0)

    fitted = short_training.fit(tmp_path)

    by_seed = fitted["log_loss_by_seed"]
    assert {*by_seed} == {"logistic", "lightgbm"}  # not the baseline, which cannot be released
    assert all(len(losses) == 3 == len({*losses}) for losses in by_seed.values())
    assert all(losses[0] == fitted["valid"][name]["log_loss"] for name, losses in by_seed.items())


def test_the_mean_of_the_seeds_decides_and_not_the_first(
    short_training: ShortTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_seed = {"logistic": [0.40, 0.45, 0.45], "lightgbm": [0.41, 0.41, 0.41]}
    monkeypatch.setattr(train, "losses_by_seed", lambda *_: by_seed)
    monkeypatch.setattr(leaks, "refuse_dominant", lambda *_: None)

    assert short_training.fit(tmp_path)["best"] == "lightgbm"
    by_seed["lightgbm"] = [0.46, 0.46, 0.46]
    assert short_training.fit(tmp_path)["best"] == "logistic"


def test_a_retraining_without_a_committed_exploration_report_records_the_other_files(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    without = packaging.run_artifacts(params)
    packaging.EXPLORATION.parent.mkdir()
    packaging.EXPLORATION.touch()

    assert set(packaging.run_artifacts(params)) - set(without) == {packaging.EXPLORATION}
    assert set(without) >= {*packaging.LINEAGE_FILES, *packaging.REPORT_FILES} - {packaging.EXPLORATION}
