"""What `promote` needs of the workspace: the winner as ONNX, its comparison with the champion, its papers."""

from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import export, gate, model, registry, release, schema, split
from ontime.params import Params
from pipelines.layout import COSTS, MODELS, PLOTS, PREDICTIONS, REPORTS, read_json
from pipelines.train import read_period

REPORTED = (REPORTS / "metrics.json", REPORTS / "model_card.md", REPORTS / "data_quality.json", PLOTS)


class Challenger(NamedTuple):
    """The best candidate of this training, and the flights it is judged by."""

    name: str
    native: model.Classifier
    onnx: bytes
    training: dict[str, Any]
    flights: pd.DataFrame
    predictions: pd.DataFrame


def challenger(params: Params) -> Challenger:
    training = read_json(MODELS / "training.json")
    native = joblib.load(MODELS / f"{training['champion']}.joblib")
    flights = read_period(split.periods(params.split)["test"])
    predictions = pd.read_parquet(PREDICTIONS / "test.parquet")
    return Challenger(training["champion"], native, export.to_onnx(native), training, flights, predictions)


def refuse_disparity(winner: Challenger, tolerance: float) -> None:
    """Raise ReleaseRefused if the ONNX file says anything else than the model it was made from.

    Over the whole test period, also as flights that were not materialised: some converters are silently wrong.
    """
    matrix = model.matrix_of(winner.flights, winner.training["categories"])
    matrix = np.vstack([matrix, model.schedule_only(matrix)])
    difference = np.abs(release.Model(winner.onnx).predict(matrix) - model.predict(winner.native, matrix))
    largest = float(difference.max())
    if not largest <= tolerance:
        row = int(difference.argmax()) % len(winner.flights)
        raise release.ReleaseRefused(
            f"{release.MODEL}: differs from {winner.name} by {largest:.2g} (gate.parity_tolerance {tolerance:g}), "
            f"most at {winner.flights['flight_id'].iloc[row]}"
        )
    print(f"parity: ONNX differs from {winner.name} by {largest:.1e} at most, over {len(matrix):,} rows")


def judge(winner: Challenger, releases: Path, params: Params) -> tuple[gate.Verdict, str]:
    """The gate's verdict, and what the challenger was compared with: a release, or at first a baseline."""
    judged_from = params.split.test_from
    gate.refuse_seen_flights(f"challenger {winner.name}", params.split.valid_from, judged_from)
    name, told = _champion(winner, releases, params)
    verdict = gate.decide(
        winner.flights,
        winner.predictions[winner.name].to_numpy(),
        told,
        params.gate,
        params.evaluate,
        params.train.seed,
    )
    return verdict, name


def _champion(winner: Challenger, releases: Path, params: Params) -> tuple[str, NDArray[np.float64]]:
    if release.current(releases) is None:
        if model.BASELINE in winner.predictions:
            return f"baseline {model.BASELINE}", winner.predictions[model.BASELINE].to_numpy()
        return "the usual rate", np.full(len(winner.flights), winner.training["usual_rate"])
    champion = release.load_current(releases)
    name = f"release {champion.manifest.version}"
    gate.refuse_seen_flights(name, champion.manifest.trained_until, params.split.test_from)
    matrix = model.matrix_of(winner.flights, champion.manifest.categories)
    return name, champion.model.predict(matrix).astype(np.float64)


def runs(params: Params, git_commit: str, hashes: dict[str, str]) -> list[registry.Run]:
    """What MLflow keeps of each candidate: parameters, scores, costs, and where it came from."""
    scores, costs = read_json(REPORTS / "metrics.json")["candidates"], read_json(COSTS) if COSTS.exists() else {}
    lineage = {"git_commit": git_commit, **{f"dvc.{path}": md5 for path, md5 in hashes.items()}}
    shared = {"vintage": params.vintage, "seed": params.train.seed, **params.features.model_dump()}
    return [
        registry.Run(
            candidate=name,
            params={**shared, **params.split.model_dump(), **params.train.of(name)},
            metrics={f"{period}_{figure}": value for period in both for figure, value in both[period].items()}
            | costs.get(name, {}),
            tags=lineage,
        )
        for name, both in scores.items()
    ]


def manifest(
    winner: Challenger, version: str, run_id: str, git_commit: str, hashes: dict[str, str], params: Params
) -> release.Manifest:
    return release.Manifest(
        name=registry.NAME,
        version=version,
        algorithm=winner.name,
        features=schema.FEATURE_NAMES,
        categories=winner.training["categories"],
        threshold=params.cost.alert_threshold,
        usual_rate=winner.training["usual_rate"],
        lead_minutes=params.features.lead_minutes,
        trained_from=params.split.train_from,
        trained_until=params.split.valid_from,
        lineage=release.Lineage(git_commit=git_commit, mlflow_run=run_id, dvc_lock=hashes),
        sha256={release.MODEL: sha256(winner.onnx).hexdigest()},
    )
