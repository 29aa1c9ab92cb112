"""Stage 6: models/ and the test period, which no earlier stage scores -> reports/, data/predictions/."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import (
    candidates,
    card,
    evaluation,
    explain,
    fairness,
    files,
    model,
    progress,
    refusal,
    slices,
    split,
)
from ontime.datasets import KEY
from ontime.model_study import Study
from ontime.params import Params, load_params
from ontime.schema import WORDS
from pipelines.day_table import read_kinds
from pipelines.labelled import encoded_batches, read_period
from pipelines.layout import (
    COSTS,
    MODELS,
    PLOTS,
    PREDICTIONS,
    REPORTS,
    STUDY,
    read_json,
    read_training,
    replacing_folder,
    write_json,
    write_table,
)

TIMED_ROWS = 10_000

Probabilities = Mapping[str, model.Probabilities]  # by candidate, of the entities of the test period


class TestSet(NamedTuple):
    """The labelled entities of the test period (id, day, label, features of the slices), and training.json."""

    entities: pd.DataFrame
    label: NDArray[np.bool_]
    matrix: model.Matrix
    training: dict[str, Any]


def read_test(params: Params) -> TestSet:
    period = split.periods(params.split)["test"]
    entities = read_period(period, [KEY, "day", "label", *slices.FEATURES])
    split.refuse_strays("test", entities, period)
    training = read_training()
    matrix = encoded_batches(period, len(entities), training["categories"]).in_memory()
    return TestSet(entities, entities["label"].to_numpy(), matrix, training)


def predict_all(test: TestSet, params: Params) -> dict[str, model.Probabilities]:
    """Each candidate's probabilities; latency and size, which differ from run to run, go to reports/costs.json."""
    costs: dict[str, dict[str, float]] = read_json(COSTS) if COSTS.exists() else {}
    probabilities: dict[str, model.Probabilities] = {}
    for name in params.train.candidates:
        fitted = joblib.load(MODELS / f"{name}.joblib")
        probabilities[name] = model.predict(fitted, test.matrix)
        start = time.perf_counter()
        model.predict(fitted, test.matrix[:TIMED_ROWS])
        microseconds = 1e6 * (time.perf_counter() - start) / len(test.matrix[:TIMED_ROWS])
        size = (MODELS / f"{name}.joblib").stat().st_size
        costs.setdefault(name, {}).update(predict_us_per_row=round(microseconds, 3), size_bytes=size)
    write_json(COSTS, costs)
    return probabilities


def _load_best(test: TestSet) -> model.Classifier:
    """The fitted model of the algorithm that is best on the validation period."""
    return joblib.load(MODELS / f"{test.training['best']}.joblib")


def request_only_scores(test: TestSet, params: Params) -> dict[str, float]:
    """Scores of the best model with the request alone."""
    probabilities = model.predict(_load_best(test), model.request_only(test.matrix))
    return evaluation.scores(test.label, probabilities, params.cost)


def explanation_method(test: TestSet) -> explain.Method:
    """How the best model's predictions are explained."""
    fitted = _load_best(test)
    return explain.method_of(candidates.explainer(test.training["best"], fitted, test.matrix))


def read_study() -> Study | None:
    """What `ontime study card` has measured, perhaps of an earlier model; None if nothing."""
    return Study.from_json(read_json(STUDY)) if STUDY.exists() else None


def draw_costs(report: card.EvaluationReport) -> None:
    """Plot quality against latency. It differs from run to run, so git ignores it like reports/costs.json."""
    from ontime import plots

    costs = read_json(COSTS)
    rows = [
        (name, costs[name]["predict_us_per_row"], both["test"]["log_loss"], costs[name]["size_bytes"])
        for name, both in report.candidates.items()
    ]
    plots.save(plots.quality_against_latency(rows), REPORTS / "quality_latency.png")


def scores_of_candidates(
    test: TestSet, probabilities: Probabilities, params: Params
) -> dict[str, dict[str, dict[str, float]]]:
    """Each candidate's scores on the validation and on the test period. Raises LeakSuspected."""
    scores = {
        name: {"valid": test.training["valid"][name], "test": evaluation.scores(test.label, each, params.cost)}
        for name, each in probabilities.items()
    }
    for name, both in scores.items():
        evaluation.refuse_leak(name, both["test"]["auc"], params.evaluate.leak_auc)
    return scores


def scores_by_kind_of_day(test: TestSet, probability: model.Probabilities, params: Params) -> list[dict[str, Any]]:
    """Scores of the entities of each kind of day, which the gate does not see: a kind is known only afterwards."""
    if (both := read_kinds(params)) is None:
        return []
    kinds, days = both
    when = test.entities["day"]
    kind = when.map(kinds.of_days(days)).fillna(slices.UNKNOWN)
    rows = slices.scores_by_slice(test.label, probability, when.to_numpy(), pd.DataFrame({"kind of day": kind}), params)
    number = when.groupby(kind).nunique()
    return [{**row, "days": int(number[row["slice"]]), "gated": False} for row in rows]


def evaluation_report(test: TestSet, probabilities: Probabilities, params: Params) -> card.EvaluationReport:
    best, full = test.training["best"], params.evaluate.full_card
    days, dimensions = test.entities["day"].to_numpy(), slices.of_entities(test.entities)
    groups = dimensions.drop(columns="month")  # fairness compares groups of entities, and a month is not one
    return card.EvaluationReport(
        params=params,
        best=best,
        candidates=scores_of_candidates(test, probabilities, params),
        intervals={
            name: evaluation.intervals(test.label, probability, days, params.cost)
            for name, probability in probabilities.items()
        },
        request_only=request_only_scores(test, params),
        study=read_study() if full else None,
        slices=slices.scores_by_slice(test.label, probabilities[best], days, dimensions, params),
        equalised=fairness.equalised(test.label, probabilities[best], days, groups, params) if full else [],
        entities={**test.training["entities"], "test": len(test.entities)},
        positive_share=round(float(test.label.mean()), 4),
        days=len(np.unique(days)),
        reasons=explanation_method(test),
        log_loss_by_seed=test.training["log_loss_by_seed"],
        kinds_of_days=scores_by_kind_of_day(test, probabilities[best], params) if full else [],
    )


def write_reports(report: card.EvaluationReport, test: TestSet, probabilities: Probabilities) -> None:
    text = card.model_card(report)  # first, so that an error leaves the previous reports unchanged
    with replacing_folder(PLOTS) as folder:  # DVC requires the folder, even an empty one
        if report.params.evaluate.full_card:
            from ontime import card_plots  # here: importing matplotlib takes a second, and not every card has plots

            card_plots.draw_card(test.label, probabilities, report, folder)
            draw_costs(report)
    with replacing_folder(PREDICTIONS) as folder:
        columns = test.entities[[KEY, "day", "label"]].assign(**probabilities)
        write_table(columns, folder / "test.parquet")
    write_json(REPORTS / "metrics.json", {"best": report.best, "candidates": report.candidates})
    write_json(REPORTS / "evaluation.json", report.as_json())
    files.write_text(REPORTS / "model_card.md", text)


def main() -> None:
    params = load_params()
    with progress.steps("evaluate", 4) as begin:
        begin("reads the test period")
        test = read_test(params)
        begin("predicts it with each candidate")
        probabilities = predict_all(test, params)
        begin("measures scores and slices")
        report = evaluation_report(test, probabilities, params)
        begin("writes and draws the reports")
        write_reports(report, test, probabilities)
    scores = report.candidates[report.best]["test"]
    print(
        f"evaluate: {report.best} on {len(test.entities):,} test {WORDS.entities}: "
        f"AUC {scores['auc']}, log-loss {scores['log_loss']}"
    )


if __name__ == "__main__":
    with refusal.exit_on_refusal("evaluate"):
        main()
