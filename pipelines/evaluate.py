"""Stage 6: models/ and the test period, opened here and nowhere before -> reports/, data/predictions/."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.inspection import permutation_importance
from sklearn.metrics import precision_recall_curve, roc_curve

from ontime import (
    candidates,
    card,
    conformal,
    evaluation,
    explain,
    fairness,
    files,
    model,
    refusal,
    schema,
    slices,
    split,
)
from ontime.params import Params, load_params
from ontime.problem import PROBLEM
from ontime.schema import WORDS
from pipelines.layout import (
    COSTS,
    MODELS,
    PLOTS,
    PREDICTIONS,
    REPORTS,
    read_json,
    replacing_folder,
    write_json,
    write_table,
)
from pipelines.train import read_period, without

Probabilities = dict[str, NDArray[np.float64]]
TIMED_ROWS = 10_000


class Test(NamedTuple):
    """The labelled entities of the test period, and what the training left."""

    entities: pd.DataFrame
    label: NDArray[np.bool_]
    matrix: model.Matrix
    training: dict[str, Any]


def open_test(params: Params) -> Test:
    period = split.periods(params.split)["test"]
    entities = read_period(period)
    split.refuse_strays("test", entities, period)
    training = read_json(MODELS / "training.json")
    return Test(entities, entities["label"].to_numpy(), model.matrix_of(entities, training["categories"]), training)


def predict_all(test: Test, params: Params) -> Probabilities:
    """Each candidate's probabilities; what differs from run to run goes to reports/costs.json."""
    costs: dict[str, dict[str, float]] = read_json(COSTS) if COSTS.exists() else {}
    probabilities: Probabilities = {}
    for name in params.train.candidates:
        fitted = joblib.load(MODELS / f"{name}.joblib")
        probabilities[name] = model.predict(fitted, test.matrix)
        began = time.perf_counter()
        model.predict(fitted, test.matrix[:TIMED_ROWS])
        microseconds = 1e6 * (time.perf_counter() - began) / len(test.matrix[:TIMED_ROWS])
        size = (MODELS / f"{name}.joblib").stat().st_size
        costs.setdefault(name, {}).update(predict_us_per_row=round(microseconds, 3), size_bytes=size)
    write_json(COSTS, costs)
    return probabilities


def variants(test: Test, params: Params) -> dict[str, dict[str, float]]:
    """The champion with less to know: nothing but the request, and without what each declared ablation leaves out."""
    champion = joblib.load(MODELS / f"{test.training['champion']}.joblib")
    told = {"request_only": model.predict(champion, model.request_only(test.matrix))}
    for name in PROBLEM.ablations if params.train.ablations else ():
        told[name] = model.predict(joblib.load(MODELS / f"{name}.joblib"), without(name, test.matrix))
    return {name: evaluation.scores(test.label, probability, params.cost) for name, probability in told.items()}


def uncertainty(test: Test, told: model.Probabilities, params: Params) -> list[dict[str, Any]]:
    """How often sets that are calibrated on the validation period hold: there, and on the test period by slice."""
    champion = joblib.load(MODELS / f"{test.training['champion']}.joblib")
    valid = read_period(split.periods(params.split)["valid"])
    valid_label, valid_cuts, cuts = (
        valid["label"].to_numpy(),
        slices.of_entities(valid),
        slices.of_entities(test.entities),
    )
    probability = model.predict(champion, model.matrix_of(valid, test.training["categories"]))
    calibration = conformal.Answered(probability, slices.groups(valid_cuts))
    sets = conformal.prediction_sets(calibration, valid_label, conformal.Answered(told, slices.groups(cuts)))
    shown = pd.DataFrame({"test": "all", **{cut: cuts[cut] for cut in (slices.GROUP, "month") if cut}})
    return [
        *conformal.control(calibration, valid_label, valid["day"].to_numpy()),
        *conformal.coverage(test.label, sets, test.entities["day"].to_numpy(), shown),
    ]


def reasons(test: Test) -> explain.Method:
    """How the champion's answers are explained."""
    champion = joblib.load(MODELS / f"{test.training['champion']}.joblib")
    return explain.method_of(candidates.explainer(test.training["champion"], champion, test.matrix))


def importance(test: Test, params: Params) -> list[tuple[str, float, float]]:
    """What the log-loss loses when a column is shuffled: name, mean and deviation, largest first."""
    champion = joblib.load(MODELS / f"{test.training['champion']}.joblib")
    step = max(1, len(test.label) // params.evaluate.importance_rows)
    found = permutation_importance(
        champion, test.matrix[::step], test.label[::step], scoring=_negative_log_loss,
        n_repeats=2, random_state=params.train.seed,
    )  # fmt: skip
    rows = zip(schema.FEATURE_NAMES, found.importances_mean, found.importances_std, strict=True)
    return sorted(((name, float(mean), float(std)) for name, mean, std in rows), key=lambda row: -row[1])


def _negative_log_loss(fitted: model.Classifier, matrix: model.Matrix, label: NDArray[np.bool_]) -> float:
    return -float(evaluation.losses(label, model.predict(fitted, matrix)).mean())


def draw(
    test: Test, told: Probabilities, ranks: list[tuple[str, float, float]], report: card.Report, folder: Path
) -> None:
    """The pictures of the model card that are the same in every run."""
    from ontime import plots  # here, because matplotlib takes its time, and not every card has pictures

    label, test_scores = test.label, {name: both["test"] for name, both in report.candidates.items()}
    thresholds = np.linspace(0.02, 0.9, 89)
    no_alerts = 1000 * report.params.cost.missed * float(label.mean())
    rocs = {name: (*roc_curve(label, p)[:2], test_scores[name]["auc"]) for name, p in told.items()}
    prs = {}
    for name, probability in told.items():
        precision, recall, _ = precision_recall_curve(label, probability)
        # The last point, precision 1 at recall 0, is made up: a constant would get a line that it never earned.
        prs[name] = (recall[:-1], precision[:-1], test_scores[name]["average_precision"])
    paid = {
        name: (thresholds, np.array([evaluation.cost_per_1000(label, p, report.params.cost, t) for t in thresholds]))
        for name, p in told.items()
    }
    plots.save(plots.roc(rocs, report.champion), folder / "roc.png")
    plots.save(plots.precision_recall(prs, float(label.mean()), report.champion), folder / "precision_recall.png")
    reliable = {name: evaluation.calibration(label, p) for name, p in told.items()}
    plots.save(plots.reliability(reliable, report.champion), folder / "reliability.png")
    plots.save(
        plots.cost_by_threshold(paid, report.params.cost.alert_threshold, no_alerts, report.champion),
        folder / "cost_by_threshold.png",
    )
    names, means, deviations = zip(*ranks, strict=True)
    plots.save(plots.importance(names, means, deviations), folder / "importance.png")
    judged = [
        (row["cut"], row["slice"], row["auc"], row["auc_interval"], row["entities"])
        for row in report.slices
        if row["gated"]
    ]
    overall = test_scores[report.champion]["auc"]
    plots.save(plots.slices(judged, overall, "on the test period"), folder / "slices.png")


def draw_costs(report: card.Report) -> None:
    """Quality against latency: measured anew in every run, so git ignores it like reports/costs.json."""
    from ontime import plots

    costs = read_json(COSTS)
    rows = [
        (name, costs[name]["predict_us_per_row"], both["test"]["log_loss"], costs[name]["size_bytes"])
        for name, both in report.candidates.items()
    ]
    plots.save(plots.quality_against_latency(rows), REPORTS / "quality_latency.png")


def main() -> None:
    params = load_params()
    test = open_test(params)
    champion = test.training["champion"]
    told = predict_all(test, params)
    candidates = {
        name: {"valid": test.training["valid"][name], "test": evaluation.scores(test.label, probability, params.cost)}
        for name, probability in told.items()
    }
    for name, both in candidates.items():
        evaluation.refuse_leak(name, both["test"]["auc"], params.evaluate.leak_auc)
    days, cuts = test.entities["day"].to_numpy(), slices.of_entities(test.entities)
    groups = cuts.drop(columns="month")  # a month is nobody's group
    full = params.evaluate.full_card
    report = card.Report(
        params=params,
        champion=champion,
        candidates=candidates,
        intervals={
            name: evaluation.intervals(test.label, probability, days, params.cost) for name, probability in told.items()
        },
        variants=variants(test, params),
        slices=slices.report(test.label, told[champion], days, cuts, params),
        equalised=fairness.equalised(test.label, told[champion], days, groups, params) if full else [],
        coverage=uncertainty(test, told[champion], params) if full else [],
        entities={**test.training["entities"], "test": len(test.entities)},
        positive_share=round(float(test.label.mean()), 4),
        days=len(np.unique(days)),
        reasons=reasons(test),
    )
    ranks = importance(test, params) if full else []
    text = card.model_card(report, ranks)  # before anything is replaced: what fails leaves the last report whole
    with replacing_folder(PLOTS) as folder:  # DVC asks for the folder, even an empty one
        if full:
            draw(test, told, ranks, report, folder)
            draw_costs(report)
    with replacing_folder(PREDICTIONS) as folder:
        columns = test.entities[["entity_id", "day", "label"]].assign(**told)
        write_table(columns, folder / "test.parquet")
    write_json(REPORTS / "metrics.json", {"champion": champion, "candidates": candidates})
    write_json(REPORTS / "evaluation.json", report.as_json(ranks))
    files.write_text(REPORTS / "model_card.md", text)
    best = candidates[champion]["test"]
    print(
        f"evaluate: {champion} on {len(test.entities):,} test {WORDS.entities}: "
        f"AUC {best['auc']}, log-loss {best['log_loss']}"
    )


if __name__ == "__main__":
    with refusal.told("evaluate"):
        main()
