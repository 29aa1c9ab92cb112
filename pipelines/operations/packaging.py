"""Reads the best candidate from the workspace, and builds from it the files and manifest of a release."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import candidates, explain, export, model, registry, release, schema, split
from ontime.datasets import KEY
from ontime.declaration import Names
from ontime.explain import Explainer
from ontime.features import online_of
from ontime.params import PARAMS_FILE, Params
from ontime.problem import PROBLEM
from ontime.problem.data import DATA
from ontime.requests import request_of
from ontime.trees import Trees
from pipelines.labelled import read_period
from pipelines.layout import (
    COSTS,
    MODELS,
    PLOTS,
    PREDICTIONS,
    REPORTS,
    TRAINED_ON,
    VALIDATED,
    read_json,
    read_months,
    read_tables,
    read_training,
)
from pipelines.operations.lineage import LOCK

PROBES = 20
REFERENCE_ROWS = 5000
# `make pack` needs all of them, also when the workspace has a later training.
REPORT_FILES = tuple(
    REPORTS / name for name in ("metrics.json", "evaluation.json", "model_card.md", "data_quality.json", "eda.md")
)
EXPLORATION = REPORTS / "eda.md"
LINEAGE_FILES = (PARAMS_FILE, LOCK)  # with the commit, everything that `make reproduce` needs


class BestModel(NamedTuple):
    """The best candidate of this training, with the entities that the gate scores and the explainer."""

    name: str
    native: model.Classifier
    onnx: bytes
    training: dict[str, Any]
    entities: pd.DataFrame
    predictions: pd.DataFrame
    explainer: Explainer | str  # text: why there are no explanations
    trained_on: NDArray[np.uint64]  # `split.row_keys` of the entities that it was fitted on


def read_best_model(params: Params) -> BestModel:
    training = read_training()
    native = joblib.load(MODELS / f"{training['best']}.joblib")
    entities = read_period(split.periods(params.split)["test"])
    predictions = pd.read_parquet(PREDICTIONS / "test.parquet")
    name = training["best"]
    explainer = explainer_of(name, native, training["categories"], entities)
    trained_on = np.frombuffer((MODELS / TRAINED_ON).read_bytes(), "<u8")
    return BestModel(name, native, export.to_onnx(name, native), training, entities, predictions, explainer, trained_on)


def explainer_of(
    name: str, native: model.Classifier, categories: dict[str, tuple[str, ...]], entities: pd.DataFrame
) -> Explainer | str:
    return candidates.explainer(name, native, model.matrix_of(spaced_rows(entities, REFERENCE_ROWS), categories))


def spaced_rows(entities: pd.DataFrame, rows: int) -> pd.DataFrame:
    """At most `rows` entities, evenly spaced."""
    return entities.iloc[np.linspace(0, len(entities) - 1, min(rows, len(entities)), dtype=int)]


def refuse_disparity(best: BestModel, tolerance: float) -> None:
    """Raise ReleaseRefused if the ONNX file's probabilities differ from the model's by more than `tolerance`.

    Compares all entities of the test period, with and without features of the online store: some converters are
    silently wrong.
    """
    matrix = model.matrix_of(best.entities, best.training["categories"])
    matrix = np.vstack([matrix, model.request_only(matrix)])
    difference = np.abs(release.Model(best.onnx).predict(matrix) - model.predict(best.native, matrix))
    largest = float(difference.max())
    if not largest <= tolerance:
        row = int(difference.argmax()) % len(best.entities)
        raise release.ReleaseRefused(
            f"{release.MODEL}: differs from {best.name} by {largest:.2g} (gate.parity_tolerance {tolerance:g}), "
            f"most at {best.entities['entity_id'].iloc[row]}"
        )
    print(f"parity: the ONNX file differs from {best.name} by at most {largest:.1e} over {len(matrix):,} rows")


def runs(params: Params, git_commit: str, hashes: dict[str, str]) -> list[registry.Run]:
    """The run of each candidate in MLflow: parameters, scores, costs, curves of its training, and lineage."""
    scores, costs = read_json(REPORTS / "metrics.json")["candidates"], read_json(COSTS) if COSTS.exists() else {}
    curves = read_training()["curves"]
    lineage = {"git_commit": git_commit, **{f"dvc.{path}": md5 for path, md5 in hashes.items()}}
    shared = {"dataset": params.dataset, "seed": params.train.seed}
    shared |= {**params.label.model_dump(), **params.features.model_dump()}
    return [
        registry.Run(
            candidate=name,
            params={**shared, **params.split.model_dump(), **params.train.of(name).model_dump()},
            metrics={f"{period}_{figure}": value for period in both for figure, value in both[period].items()}
            | costs.get(name, {}),
            tags=lineage,
            curves=curves.get(name, {}),
            description=f"One candidate of one `make train`: the probability of {schema.in_words(params.question)}.",
        )
        for name, both in scores.items()
    ]


def run_artifacts(params: Params) -> tuple[Path, ...]:
    """The files that are stored with each run in MLflow.

    A retraining does not run `explore`, so it has the exploration report only if one is committed.
    """
    reports = tuple(path for path in REPORT_FILES if path != EXPLORATION or path.exists())
    return reports + LINEAGE_FILES + ((PLOTS,) if params.evaluate.full_card else ())


def contents(best: BestModel, params: Params) -> dict[str, bytes]:
    """The files of the release."""
    period = split.periods(params.split)["test"]
    requests = read_months(VALIDATED / DATA.entities, split.months(period)).set_index(KEY, drop=False)
    written = files_of(best.explainer, best.onnx, best.training["categories"], best.entities, requests)
    return {**written, release.TRAINED_ON: best.trained_on.tobytes()}


def files_of(
    explainer: Explainer | str,
    onnx: bytes,
    categories: dict[str, tuple[str, ...]],
    entities: pd.DataFrame,
    requests: pd.DataFrame,
) -> dict[str, bytes]:
    """The files of a release: model, explainer, reference rows, and probes with the probabilities they must get.

    `entities` has the features, `requests` the fields of a request by entity_id. Every second probe is predicted
    without the online store.
    """
    chosen = entities.iloc[np.linspace(0, len(entities) - 1, PROBES, dtype=int)].reset_index(drop=True)
    matrix, alone = model.matrix_of(chosen, categories), np.arange(PROBES) % 2 == 1
    matrix[alone] = model.request_only(matrix[alone])
    probabilities = release.Model(onnx).predict(matrix)
    vectors, texts = online_of(chosen)
    probes = [
        release.Probe(
            entity=request_of(requests.loc[entity_id]),
            online=None if is_alone else tuple(None if np.isnan(value) else float(value) for value in vector),
            texts={} if is_alone else text,
            probability=float(probability),
        )
        for entity_id, vector, text, is_alone, probability in zip(
            chosen[KEY], vectors, texts, alone, probabilities, strict=True
        )
    ]
    written = {
        release.MODEL: onnx,
        release.PROBE: release.PROBES.dump_json(tuple(probes), indent=1),
        release.REFERENCE: reference_rows(onnx, categories, entities),
    }
    if isinstance(explainer, str):
        return written
    return {**written, release.TREES if isinstance(explainer, Trees) else release.LINEAR: explainer.to_bytes()}


def reference_rows(onnx: bytes, categories: dict[str, tuple[str, ...]], entities: pd.DataFrame) -> bytes:
    """Evenly spaced entities of the test period as parquet: features, day, probability and label."""
    chosen = spaced_rows(entities, REFERENCE_ROWS)
    probabilities = release.Model(onnx).predict(model.matrix_of(chosen, categories)).astype(np.float64)
    columns = chosen[[*schema.FEATURE_NAMES, "day", "label"]].assign(probability=probabilities)
    return bytes(columns.to_parquet(None, index=False))


def validated_names() -> Names:
    """The display names of the codes in requests."""
    return DATA.names(read_tables(VALIDATED))


def track_record(
    label: NDArray[np.bool_], probability: NDArray[np.float64], threshold: float, period: split.Period
) -> release.TrackRecord:
    """Entities and positives by bin of probability; the threshold is an edge, so that no bin spans it."""
    edges = sorted({*(tenth / 10 for tenth in range(11)), threshold})
    every, _ = np.histogram(probability, edges)
    positive, _ = np.histogram(probability[label], edges)
    return release.TrackRecord(
        begin=period.start,
        until=period.until,
        bins=tuple(
            release.Bin(low=low, high=high, entities=int(n), positives=int(k))
            for low, high, n, k in zip(edges[:-1], edges[1:], every, positive, strict=True)
        ),
    )


def manifest(
    best: BestModel,
    version: str,
    run_id: str,
    git_commit: str,
    hashes: dict[str, str],
    params: Params,
    written: Mapping[str, bytes],
    names: Names | None = None,
) -> release.Manifest:
    return release.Manifest(
        problem=PROBLEM.name,
        name=registry.NAME,
        version=version,
        algorithm=best.name,
        features=schema.FEATURE_NAMES,
        categories=best.training["categories"],
        threshold=params.cost.alert_threshold,
        base_rate=best.training["base_rate"],
        label_at_least=params.label.at_least,
        lead_minutes=params.features.lead_minutes,
        trained_from=params.split.train_from,
        trained_until=params.split.valid_from,
        track_record=track_record(
            best.entities["label"].to_numpy(bool),
            best.predictions[best.name].to_numpy(),
            params.cost.alert_threshold,
            split.periods(params.split)["test"],
        ),
        names={name: dict(labels) for name, labels in (names or {}).items()},
        lineage=release.Lineage(git_commit=git_commit, mlflow_run=run_id, dvc_lock=hashes),
        reasons=explain.method_of(best.explainer),
        sha256={name: sha256(content).hexdigest() for name, content in written.items()},
    )
