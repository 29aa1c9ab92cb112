"""The pictures of the model card that are the same in every run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from ontime import evaluation, plots
from ontime.card import Importance, Report
from ontime.model import Labels, Probabilities

THRESHOLDS = np.linspace(0.02, 0.9, 89)


def draw(
    label: Labels, probabilities: Mapping[str, Probabilities], ranks: Importance, report: Report, folder: Path
) -> None:
    """Draw the test period of `report` into `folder`: each candidate's curves, and the champion's features and slices.

    `probabilities`: by candidate, of the entities that have the labels `label`. `ranks`: feature, mean, deviation.
    """
    _draw_ranking(label, probabilities, report, folder)
    _draw_probabilities(label, probabilities, report, folder)
    plots.save(plots.importance(*zip(*ranks, strict=True)), folder / "importance.png")
    gated = [
        (row["cut"], row["slice"], row["auc"], row["auc_interval"], row["entities"])
        for row in report.slices
        if row["gated"]
    ]
    overall = report.candidates[report.champion]["test"]["auc"]
    plots.save(plots.slices(gated, overall, "on the test period"), folder / "slices.png")


def _draw_ranking(label: Labels, probabilities: Mapping[str, Probabilities], report: Report, folder: Path) -> None:
    scores = {name: periods["test"] for name, periods in report.candidates.items()}
    rocs = {name: (*roc_curve(label, p)[:2], scores[name]["auc"]) for name, p in probabilities.items()}
    precision_recalls = {}
    for name, probability in probabilities.items():
        precision, recall, _ = precision_recall_curve(label, probability)
        # The last point, precision 1 at recall 0, is made up: a constant would get a line that it never earned.
        precision_recalls[name] = (recall[:-1], precision[:-1], scores[name]["average_precision"])
    plots.save(plots.roc(rocs, report.champion), folder / "roc.png")
    plots.save(
        plots.precision_recall(precision_recalls, float(label.mean()), report.champion), folder / "precision_recall.png"
    )


def _draw_probabilities(
    label: Labels, probabilities: Mapping[str, Probabilities], report: Report, folder: Path
) -> None:
    cost = report.params.cost
    curves = {name: evaluation.calibration(label, p) for name, p in probabilities.items()}
    costs = {
        name: (THRESHOLDS, np.array([evaluation.cost_per_1000(label, p, cost, t) for t in THRESHOLDS]))
        for name, p in probabilities.items()
    }
    without_alerts = 1000 * cost.missed * float(label.mean())
    plots.save(plots.reliability(curves, report.champion), folder / "reliability.png")
    plots.save(
        plots.cost_by_threshold(costs, cost.alert_threshold, without_alerts, report.champion),
        folder / "cost_by_threshold.png",
    )
