"""What `promote` needs of the workspace: the winner as ONNX, its comparison with the champion, its papers."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import candidates, explain, export, model, registry, release, schema, sources, split
from ontime.explain import Explainer
from ontime.params import PARAMS_FILE, Params
from ontime.trees import Trees
from pipelines.layout import COSTS, MODELS, PLOTS, PREDICTIONS, REPORTS, VALIDATED, read_json, read_months
from pipelines.lineage import LOCK
from pipelines.train import TRAINED_ON, read_period

PROBES = 20
COMPANY = r" (Inc\.|Co\.|Corporation)$"  # said of no airline by its passengers
REFERENCE_ROWS = 5000
REPORTED = (REPORTS / "metrics.json", REPORTS / "model_card.md", REPORTS / "data_quality.json")
MADE_FROM = (PARAMS_FILE, LOCK)  # with the commit, all that `make reproduce` builds a version from


class Challenger(NamedTuple):
    """The best candidate of this training, the flights it is judged by, and what its reasons are computed from."""

    name: str
    native: model.Classifier
    onnx: bytes
    training: dict[str, Any]
    flights: pd.DataFrame
    predictions: pd.DataFrame
    explainer: Explainer | str  # a sentence says why there are no reasons
    trained_on: NDArray[np.uint64]  # `split.row_keys` of the flights that it was fitted on


def challenger(params: Params) -> Challenger:
    training = read_json(MODELS / "training.json")
    native = joblib.load(MODELS / f"{training['champion']}.joblib")
    flights = read_period(split.periods(params.split)["test"])
    predictions = pd.read_parquet(PREDICTIONS / "test.parquet")
    name = training["champion"]
    explainer = explainer_of(name, native, training["categories"], flights)
    trained_on = np.frombuffer((MODELS / TRAINED_ON).read_bytes(), "<u8")
    return Challenger(name, native, export.to_onnx(name, native), training, flights, predictions, explainer, trained_on)


def explainer_of(
    name: str, native: model.Classifier, categories: dict[str, tuple[str, ...]], flights: pd.DataFrame
) -> Explainer | str:
    return candidates.explainer(name, native, model.matrix_of(spread(flights, REFERENCE_ROWS), categories))


def spread(flights: pd.DataFrame, rows: int) -> pd.DataFrame:
    """So many flights, spread over all of them."""
    return flights.iloc[np.linspace(0, len(flights) - 1, min(rows, len(flights)), dtype=int)]


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


def runs(params: Params, git_commit: str, hashes: dict[str, str]) -> list[registry.Run]:
    """What MLflow keeps of each candidate: parameters, scores, costs, and where it came from."""
    scores, costs = read_json(REPORTS / "metrics.json")["candidates"], read_json(COSTS) if COSTS.exists() else {}
    lineage = {"git_commit": git_commit, **{f"dvc.{path}": md5 for path, md5 in hashes.items()}}
    shared = {"vintage": params.vintage, "seed": params.train.seed}
    shared |= {**params.label.model_dump(), **params.features.model_dump()}
    return [
        registry.Run(
            candidate=name,
            params={**shared, **params.split.model_dump(), **params.train.of(name).model_dump()},
            metrics={f"{period}_{figure}": value for period in both for figure, value in both[period].items()}
            | costs.get(name, {}),
            tags=lineage,
            description=f"One candidate of one `make train`: the probability of {params.question}.",
        )
        for name, both in scores.items()
    ]


def papers(params: Params) -> tuple[Path, ...]:
    """What MLflow keeps beside each run."""
    return REPORTED + MADE_FROM + ((PLOTS,) if params.evaluate.full_card else ())


def contents(winner: Challenger, params: Params) -> dict[str, bytes]:
    """The files of the release."""
    period = split.periods(params.split)["test"]
    timetable = read_months(VALIDATED / "flights", split.months(period)).set_index("flight_id", drop=False)
    written = files_of(winner.explainer, winner.onnx, winner.training["categories"], winner.flights, timetable)
    return {**written, release.TRAINED_ON: winner.trained_on.tobytes()}


def files_of(
    explainer: Explainer | str,
    onnx: bytes,
    categories: dict[str, tuple[str, ...]],
    flights: pd.DataFrame,
    timetable: pd.DataFrame,
) -> dict[str, bytes]:
    """The model, what its reasons are computed from, and probes: what it says of flights spread over `flights`.

    `flights` has the features, `timetable` what a request has to say, by flight_id. Every second probe is asked
    as a flight that was not materialised.
    """
    chosen = flights.iloc[np.linspace(0, len(flights) - 1, PROBES, dtype=int)].reset_index(drop=True)
    matrix, alone = model.matrix_of(chosen, categories), np.arange(PROBES) % 2 == 1
    matrix[alone] = model.schedule_only(matrix[alone])
    told = release.Model(onnx).predict(matrix)
    vectors = chosen[list(schema.MATERIALISED)].to_numpy("float32")
    probes = [
        release.Probe(
            flight=flight_of(timetable.loc[flight_id]),
            materialised=None if is_alone else tuple(None if np.isnan(value) else float(value) for value in vector),
            probability_late=float(probability),
        )
        for flight_id, vector, is_alone, probability in zip(chosen["flight_id"], vectors, alone, told, strict=True)
    ]
    written = {
        release.MODEL: onnx,
        release.PROBE: release.PROBES.dump_json(tuple(probes), indent=1),
        release.REFERENCE: reference(onnx, categories, flights),
    }
    if isinstance(explainer, str):
        return written
    return {**written, release.TREES if isinstance(explainer, Trees) else release.LINEAR: explainer.to_bytes()}


def reference(onnx: bytes, categories: dict[str, tuple[str, ...]], flights: pd.DataFrame) -> bytes:
    """Flights that the model was measured on, spread over all of them, as parquet: features, answer, outcome."""
    chosen = spread(flights, REFERENCE_ROWS)
    told = release.Model(onnx).predict(model.matrix_of(chosen, categories)).astype(np.float64)
    columns = chosen[[*schema.FEATURE_NAMES, "late"]].assign(probability_late=told)
    return bytes(columns.to_parquet(None, index=False))


def flight_of(row: pd.Series) -> schema.Flight:
    """A row of the timetable as a request."""
    return schema.Flight(
        flight_number=int(row["flight_number"]),
        distance_miles=int(row["distance_miles"]),
        **{name: str(row[name]) for name in ("carrier", "origin", "dest")},  # type: ignore[arg-type]  # pydantic checks
        **{name: row[name].to_pydatetime() for name in ("scheduled_departure", "scheduled_arrival")},
    )


def names(flights: pd.DataFrame, airlines: pd.DataFrame, airports: pd.DataFrame) -> release.Names:
    """Of all airlines and airports of the timetable, as people know them."""
    known = dict(zip(airports["airport"], airports["name"], strict=True)) | sources.TERRITORY_AIRPORTS
    served = sorted({*flights["origin"], *flights["dest"]} & known.keys())
    carriers = zip(airlines["carrier"], airlines["name"].str.replace(COMPANY, "", regex=True), strict=True)
    return release.Names(carriers=dict(sorted(carriers)), airports={code: known[code] for code in served})


def validated_names() -> release.Names:
    flights = read_months(VALIDATED / "flights", columns=["origin", "dest"])
    airlines, airports = (pd.read_parquet(VALIDATED / f"{name}.parquet") for name in ("airlines", "airports"))
    return names(flights, airlines, airports)


def track_record(
    late: NDArray[np.bool_], probability: NDArray[np.float64], threshold: float, period: split.Period
) -> release.TrackRecord:
    """How many were late of the flights that got about the same probability; the threshold divides two bins."""
    edges = sorted({*(tenth / 10 for tenth in range(11)), threshold})
    flights, _ = np.histogram(probability, edges)
    found, _ = np.histogram(probability[late], edges)
    return release.TrackRecord(
        begin=period.start,
        until=period.until,
        bins=tuple(
            release.Bin(low=low, high=high, flights=int(n), late=int(k))
            for low, high, n, k in zip(edges[:-1], edges[1:], flights, found, strict=True)
        ),
    )


def manifest(
    winner: Challenger,
    version: str,
    run_id: str,
    git_commit: str,
    hashes: dict[str, str],
    params: Params,
    written: Mapping[str, bytes],
    names: release.Names | None = None,
) -> release.Manifest:
    return release.Manifest(
        name=registry.NAME,
        version=version,
        algorithm=winner.name,
        features=schema.FEATURE_NAMES,
        categories=winner.training["categories"],
        threshold=params.cost.alert_threshold,
        usual_rate=winner.training["usual_rate"],
        late_minutes=params.label.late_minutes,
        lead_minutes=params.features.lead_minutes,
        trained_from=params.split.train_from,
        trained_until=params.split.valid_from,
        track_record=track_record(
            winner.flights["late"].to_numpy(bool),
            winner.predictions[winner.name].to_numpy(),
            params.cost.alert_threshold,
            split.periods(params.split)["test"],
        ),
        names=names or release.Names(),
        lineage=release.Lineage(git_commit=git_commit, mlflow_run=run_id, dvc_lock=hashes),
        reasons=explain.method_of(winner.explainer),
        sha256={name: sha256(content).hexdigest() for name, content in written.items()},
    )
