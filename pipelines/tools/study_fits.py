"""Fits models for a study, and measures what each costs: time, size, latency, and how exactly its ONNX file predicts.

Each fit is kept in var/studies/ until the study is finished, so that one that was interrupted goes on where it stopped.
"""

import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray

from ontime import feature_worth, model, release, split
from ontime.batches import Batches, Matrix
from ontime.explain import Method
from ontime.feature_worth import SEEDS
from ontime.params import Params, Train
from ontime.progress import progress_bar
from pipelines.labelled import LabelledRows, read_rows, survey
from pipelines.layout import read_training

KEPT = Path("var/studies")
TIMED_ROWS = 2_000  # one by one
BATCH_ROWS = 10_000


class StudyData(NamedTuple):
    """The rows of the three periods in memory, coded with the categories of the training period."""

    train: LabelledRows
    valid: LabelledRows
    test: LabelledRows
    valid_matrix: Matrix
    test_matrix: Matrix

    def fitted_rows(self, train: Train) -> tuple[Matrix, model.Labels]:
        """What the stage `train` fits with this seed: the training rows, and copies with the request's features."""
        share, seed = train.request_only_share, train.seed
        batches, label = model.with_request_only(self.train.rows, self.train.label, share, seed)
        return batches.in_memory(), label


class Fitted(NamedTuple):
    """What fitting a model of a study returns."""

    predict: Callable[[Matrix], model.Probabilities]
    onnx: bytes
    explanation: Method
    curves: Mapping[str, Sequence[float]] = {}


@dataclass(frozen=True)
class StudyModel:
    """A model that a study measures. `fit` takes parameters that have the seed, and the rows to fit on."""

    name: str
    words: str
    fit: Callable[[Train, Matrix, NDArray[Any]], Fitted]


@dataclass(frozen=True)
class MeasuredFit:
    """A model of a study, fitted with one seed."""

    valid: model.Probabilities  # of the ONNX file, which is what would be served
    test: model.Probabilities
    fit_seconds: float
    cpu_seconds: float
    size_bytes: int
    row_us: float
    batch_row_us: float
    parity: float  # largest difference of a probability between the ONNX file and the model
    explanation: str
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)


def read_study_data(params: Params) -> StudyData:
    periods, categories = split.periods(params.split), read_training()["categories"]
    train, valid, test = (
        read_rows(periods[name], survey(periods[name]).rows, categories) for name in ("train", "valid", "test")
    )
    held = train._replace(rows=Batches.of(train.rows.in_memory()))
    return StudyData(held, valid, test, valid.rows.in_memory(), test.rows.in_memory())


def fit_all(study: str, models: Sequence[StudyModel], data: StudyData, params: Params) -> dict[str, list[MeasuredFit]]:
    """Each model, fitted with SEEDS seeds. Call `forget_fits` when the results are written."""
    inputs = sha256(data.train.keys.tobytes() + data.test_matrix.tobytes() + params.model_dump_json().encode())
    fits: dict[str, list[MeasuredFit]] = {each.name: [] for each in models}
    with progress_bar(total=SEEDS * len(models), desc=f"study {study}", unit="fits") as bar:
        for seed in range(params.train.seed, params.train.seed + SEEDS):
            train = params.train.model_copy(update={"seed": seed})
            rows, label = data.fitted_rows(train)
            for each in models:
                bar.set_description_str(f"study {study}: fits {each.name}")
                kept = KEPT / study / f"{each.name.replace(' ', '-')}-{seed}-{inputs.hexdigest()[:12]}.joblib"
                fits[each.name].append(_kept_or_measured(kept, each, train, rows, label, data))
                bar.update()
    return fits


def _kept_or_measured(
    kept: Path, studied: StudyModel, train: Train, rows: Matrix, label: model.Labels, data: StudyData
) -> MeasuredFit:
    if kept.exists():
        return MeasuredFit(**joblib.load(kept))
    measured = measure_fit(studied, train, rows, label, data)
    kept.parent.mkdir(parents=True, exist_ok=True)
    aside = kept.with_suffix(".part")
    joblib.dump(asdict(measured), aside)
    aside.replace(kept)
    return measured


def forget_fits(study: str) -> None:
    """Delete the kept fits of a finished study, so that the next one measures everything again."""
    shutil.rmtree(KEPT / study, ignore_errors=True)


def measure_fit(studied: StudyModel, train: Train, rows: Matrix, label: model.Labels, data: StudyData) -> MeasuredFit:
    wall, cpu = time.perf_counter(), time.process_time()
    fitted = studied.fit(train, rows, label)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    served = release.Model(fitted.onnx)
    valid, test = (served.predict(rows).astype(np.float64) for rows in (data.valid_matrix, data.test_matrix))
    return MeasuredFit(
        valid=valid,
        test=test,
        fit_seconds=wall,
        cpu_seconds=cpu,
        size_bytes=len(fitted.onnx),
        row_us=_median_us(served, [data.test_matrix[place : place + 1] for place in range(TIMED_ROWS)]),
        batch_row_us=_median_us(served, [data.test_matrix[:BATCH_ROWS]] * 5) / len(data.test_matrix[:BATCH_ROWS]),
        parity=float(np.abs(fitted.predict(data.test_matrix) - test).max()),
        explanation=fitted.explanation.method,
        curves=fitted.curves,
    )


def _median_us(served: release.Model, inputs: Sequence[Matrix]) -> float:
    """The median time of a prediction of one of these inputs, in microseconds, on one thread."""
    seconds = []
    for rows in inputs:
        if not len(rows):
            continue
        begin = time.perf_counter()
        served.predict(rows)
        seconds.append(time.perf_counter() - begin)
    return 1e6 * statistics.median(seconds)


def comparison(best: str, data: StudyData, params: Params) -> dict[str, Any]:
    """What the reports of both studies of models say of their comparison."""
    return {
        "dataset": params.dataset,
        "best": best,
        "seeds": SEEDS,
        "least_difference": round(feature_worth.least_difference(SEEDS), 5),
        "trained_on": len(data.train.label),
        "judged_on": len(data.valid.label),
        "tested_on": len(data.test.label),
    }


def costs_of(fits: Sequence[MeasuredFit]) -> dict[str, Any]:
    """The costs of a model: medians over its seeds; the largest difference from the model."""
    names = ("fit_seconds", "cpu_seconds", "row_us", "batch_row_us")
    return {
        **{name: round(statistics.median(getattr(each, name) for each in fits), 2) for name in names},
        "size_kb": round(statistics.median(each.size_bytes for each in fits) / 1000, 1),
        "parity": max(each.parity for each in fits),
        "explanation": fits[0].explanation,
    }
