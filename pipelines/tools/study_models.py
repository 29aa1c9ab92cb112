"""`ontime study models`: what each candidate is worth and what it costs -> reports/study_models.json.

All candidates that have a section in params.yaml, and an average of seeds of the best one, are fitted with several
seeds. They are compared with the best candidate of the last training on the validation period; the scores on the test
period and the gate's verdict there are results, and nothing is chosen by them.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ontime import (
    candidates,
    explain,
    export,
    feature_worth,
    gate,
    locks,
    model,
    registry,
    slices,
    split,
    study_plots,
)
from ontime.datasets import KEY
from ontime.feature_worth import SEEDS
from ontime.gate import Rival
from ontime.optional_candidates import average_of
from ontime.params import Params, ParamsBroken, Train, load_params
from ontime.refusal import Refusal
from ontime.settings import BadSettings, load_settings
from pipelines.labelled import read_period
from pipelines.layout import read_training
from pipelines.operations import train_and_promote
from pipelines.tools import study_pages
from pipelines.tools.study_fits import (
    Fitted,
    MeasuredFit,
    StudyData,
    StudyModel,
    comparison,
    costs_of,
    fit_all,
    forget_fits,
    read_study_data,
)

STUDY = "models"
AVERAGE = "average"
COMPRESSED = ("distilled", "quantised")  # `ontime study compression` measures these
EXPLAINED_ROWS = 5_000  # the background of an explanation


def fit_and_export(name: str, train: Train, rows: model.Matrix, label: NDArray[Any]) -> Fitted:
    fitted = model.fit(name, rows, label, train)
    explainer = candidates.explainer(name, fitted, rows[:: max(1, len(rows) // EXPLAINED_ROWS)])
    curves = model.curves_of(fitted)
    return Fitted(partial(model.predict, fitted), export.to_onnx(name, fitted), explain.method_of(explainer), curves)


def compared_models(best: str, train: Train) -> list[StudyModel]:
    """The candidates with a section that can be released, the best one first, and an average of its seeds."""
    names = [name for name in candidates.exportable(train.parameters) if name not in COMPRESSED]
    for name in names:
        model.refuse_missing_packages(name)
    listed = [StudyModel(name, _words(name, train), partial(fit_and_export, name)) for name in names if name != best]
    return [reference(best), *listed, _of_seeds(best)]


def reference(best: str) -> StudyModel:
    return StudyModel(best, "the best of the last training", partial(fit_and_export, best))


def _words(name: str, train: Train) -> str:
    if name == AVERAGE:
        return f"the mean of {' and '.join(each.replace('_', ' ') for each in train.of(name).model_dump()['of'])}"
    return ""


def _of_seeds(best: str) -> StudyModel:
    """Each seed of the study begins its own seeds of the average, so that no two averages share a member."""

    def fit(train: Train, rows: model.Matrix, label: NDArray[Any]) -> Fitted:
        own = train.model_copy(update={"seed": SEEDS * train.seed % 2**31})
        parameters = {**own.parameters, AVERAGE: average_of([best], SEEDS)}
        return fit_and_export(AVERAGE, own.model_copy(update={"parameters": parameters}), rows, label)

    return StudyModel(f"{SEEDS} seeds", f"the mean of {best.replace('_', ' ')} with {SEEDS} seeds", fit)


def measure_models(params: Params) -> tuple[dict[str, Any], Mapping[str, Sequence[MeasuredFit]]]:
    """The content of reports/study_models.json, and the fits. Raises Refusal if packages are missing."""
    return model_report(STUDY, compared_models(best_candidate(), params.train), params)


def best_candidate() -> str:
    return str(read_training()["best"])


def model_report(
    study: str, models: Sequence[StudyModel], params: Params
) -> tuple[dict[str, Any], Mapping[str, Sequence[MeasuredFit]]]:
    """The report on these models, of which the first is the best candidate, and their fits."""
    best, data = models[0].name, read_study_data(params)
    fits = fit_all(study, models, data, params)
    verdicts = gate_verdicts(fits, best, params)
    rows = [
        {
            "name": each.name,
            "words": each.words,
            **row_of(fits[each.name], fits[best], data, params),
            **verdicts[each.name],
        }
        for each in models
    ]
    report = {
        **comparison(best, data, params),
        "parity_tolerance": params.gate.parity_tolerance,
        "rows": sorted(rows, key=lambda row: row["valid"]["log_loss"]),
    }
    return report, fits


def row_of(
    fits: Sequence[MeasuredFit], reference: Sequence[MeasuredFit], data: StudyData, params: Params
) -> dict[str, Any]:
    """A model's scores, means over seeds; what it is worth against the reference; and its costs."""
    having, lacking = (np.stack([fit.valid for fit in each]) for each in (fits, reference))
    worth = feature_worth.worth(data.valid.label, having, lacking, data.valid.day)
    test = np.stack([fit.test for fit in fits])
    return {
        "valid": _rounded(feature_worth.mean_scores(data.valid.label, having, params.cost)),
        "test": _rounded(feature_worth.mean_scores(data.test.label, test, params.cost)),
        "worth": _rounded({name: each for name, each in worth._asdict().items() if name != "verdict"}),
        "verdict": str(worth.verdict),
        "costs": costs_of(fits),
    }


def gate_verdicts(fits: Mapping[str, Sequence[MeasuredFit]], best: str, params: Params) -> dict[str, dict[str, Any]]:
    """The gate's verdict on each model, with the seed of params.yaml, if the best candidate were the champion."""
    entities = read_period(split.periods(params.split)["test"], [KEY, "day", "label", *slices.FEATURES])
    champion = Rival(best, fits[best][0].test)
    decide = partial(gate.decide, entities, champion=champion, gate=params.gate, evaluate=params.evaluate)
    verdicts = {name: decide(each[0].test) for name, each in fits.items()}
    return {name: {"promote": each.promote, "gate": each.reason} for name, each in verdicts.items()}


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 2 if name.endswith("_1000") else 5) for name, value in values.items()}


def record_in_mlflow(fits: Mapping[str, Sequence[MeasuredFit]], report: Mapping[str, Any], params: Params) -> None:
    """Record a run of each model in MLflow: its scores and costs, and the curves of its training."""
    settings = load_settings()
    client = registry.tracking_client(settings.tracking_url, settings.artifacts)
    rows = {row["name"]: row for row in report["rows"]}
    for name, each in fits.items():
        row = rows[name]
        numbers = {f"{period}_{key}": value for period in ("valid", "test") for key, value in row[period].items()}
        costs = {key: value for key, value in row["costs"].items() if isinstance(value, float)}
        run = registry.Run(
            candidate=name,
            params=dict(params.train.of(name)),
            metrics=numbers | costs,
            tags={"study": STUDY},
            description="A candidate of `make study-models`; means over its seeds.",
            curves=each[0].curves,
        )
        registry.record_study(client, run)


def main() -> None:
    try:
        params = load_params()
        with locks.hold(locks.WORKSPACE, "make study-models"):
            train_and_promote.run_stages("train")  # so that features and algorithm are those of params.yaml
            report, fits = measure_models(params)
            record_in_mlflow(fits, report, params)
            study_pages.MODELS.write(report, {study_pages.MODELS.picture: study_plots.models_by_latency(report)})
            forget_fits(STUDY)
    except (
        locks.Busy,
        train_and_promote.NotTrained,
        ParamsBroken,
        Refusal,
        registry.NotRecorded,
        BadSettings,
    ) as refused:
        sys.exit(f"study models: {refused}")
