"""Draws the plots of the model card."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from ontime import evaluation, plots
from ontime.card import EvaluationReport
from ontime.model import Labels, Probabilities

DRAWN_THRESHOLDS = np.linspace(0.02, 0.9, 89)


def draw_card(
    label: Labels, probabilities: Mapping[str, Probabilities], report: EvaluationReport, folder: Path
) -> None:
    """Draw into `folder` each candidate's curves on the test period, and the best one's slices and importance.

    `probabilities`: by candidate, of the entities that have the labels `label`.
    """
    _draw_ranking(label, probabilities, report, folder)
    _draw_probabilities(label, probabilities, report, folder)
    if report.study is not None:
        names, figures = list(report.study.importance), list(report.study.importance.values())
        means, deviations = [mean for mean, _ in figures], [deviation for _, deviation in figures]
        plots.save(plots.importance(names, means, deviations), folder / "importance.png")
    gated = [
        (row["dimension"], row["slice"], row["auc"], row["auc_interval"], row["entities"])
        for row in report.slices
        if row["gated"]
    ]
    overall = report.candidates[report.best]["test"]["auc"]
    plots.save(plots.slices(gated, overall, "on the test period"), folder / "slices.png")


def _draw_ranking(
    label: Labels, probabilities: Mapping[str, Probabilities], report: EvaluationReport, folder: Path
) -> None:
    scores = {name: periods["test"] for name, periods in report.candidates.items()}
    rocs = {
        name: (*roc_curve(label, probability)[:2], scores[name]["auc"]) for name, probability in probabilities.items()
    }
    precision_recalls = {}
    for name, probability in probabilities.items():
        precision, recall, _ = precision_recall_curve(label, probability)
        # The last point, precision 1 at recall 0, is a convention: it would draw a line for a constant predictor.
        precision_recalls[name] = (recall[:-1], precision[:-1], scores[name]["average_precision"])
    plots.save(plots.roc(rocs, report.best), folder / "roc.png")
    plots.save(
        plots.precision_recall(precision_recalls, float(label.mean()), report.best), folder / "precision_recall.png"
    )


def _draw_probabilities(
    label: Labels, probabilities: Mapping[str, Probabilities], report: EvaluationReport, folder: Path
) -> None:
    cost = report.params.cost
    curves = {name: evaluation.calibration(label, probability) for name, probability in probabilities.items()}
    costs = {
        name: (
            DRAWN_THRESHOLDS,
            np.array([evaluation.cost_per_1000(label, probability, cost, threshold) for threshold in DRAWN_THRESHOLDS]),
        )
        for name, probability in probabilities.items()
    }
    without_alerts = 1000 * cost.missed * float(label.mean())
    plots.save(plots.reliability(curves, report.best), folder / "reliability.png")
    plots.save(
        plots.cost_by_threshold(costs, cost.alert_threshold, without_alerts, report.best),
        folder / "cost_by_threshold.png",
    )
