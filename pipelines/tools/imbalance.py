"""`make imbalance`: class weights, measured -> reports/imbalance.json, a picture, docs/class_imbalance.md.

Not a stage. For the label of params.yaml and for two rarer ones, the best algorithm of the last training is
fitted with each treatment on the training period. The validation period chooses a threshold for each, and the test
period scores it.
"""

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import evaluation, figures, files, model, plots, split
from ontime.alert_value import THRESHOLDS
from ontime.batches import Batches
from ontime.fairness import entity_costs_per_1000
from ontime.params import Cost, Params, load_params
from ontime.progress import progress_bar
from pipelines.labelled import read_period
from pipelines.layout import MODELS, REPORTS, read_json, replacing_folder, write_json
from pipelines.tools.imbalance_page import PAGE, PLAIN, PRIOR_CORRECTED, class_imbalance_document

Floats = NDArray[np.float64]

MULTIPLES = (1, 2, 4)  # of label.at_least: the higher the limit, the rarer the label
JSON = REPORTS / "imbalance.json"
PICTURES = REPORTS / "imbalance"
COLOURS = ("#0072b2", "#e69f00", "#009e73")  # of plots.PALETTE


class Treatment(NamedTuple):
    """A change of the training rows, which multiplies the odds that the model learns by `factor`."""

    name: str
    factor: float
    undersampled: bool = False


class Trained(NamedTuple):
    """A treatment's uncorrected probabilities."""

    treatment: Treatment
    valid: Floats
    test: Floats


class Periods(NamedTuple):
    train: pd.DataFrame
    valid: pd.DataFrame
    test: pd.DataFrame


def treatments(label: model.Labels, cost: Cost) -> list[Treatment]:
    balance = float((~label).sum() / label.sum())
    ratio = cost.missed / cost.false_alarm
    return [
        Treatment(PLAIN, 1.0),
        Treatment(f"{ratio:g} : 1 weights (cost)", ratio),
        Treatment(f"{balance:.1f} : 1 weights (balanced)", balance),
        # With a majority of positive rows, no negative ones are dropped.
        Treatment(f"1 in {max(1.0, balance):.1f} undersampling", max(1.0, balance), undersampled=True),
    ]


def prior_corrected(probability: Floats, factor: float) -> Floats:
    """The probability whose odds are divided by `factor`: prior correction.

    Elkan (2001), "The Foundations of Cost-Sensitive Learning", theorem 2; King & Zeng (2001), "Logistic Regression in
    Rare Events Data"; Saerens, Latinne & Decaestecker (2002), "Adjusting the Outputs of a Classifier to New a Priori
    Probabilities".

    >>> prior_corrected(np.array([0.5]), 3.0)
    array([0.25])
    """
    return probability / (probability + factor * (1 - probability))


def train_treatments(periods: Periods, params: Params, training: dict[str, Any]) -> Iterator[Trained]:
    """The best algorithm with each treatment, on the same rows as the `train` stage gives it."""
    label, categories = periods.train["label"].to_numpy(), training["categories"]
    plain = Batches.of(model.matrix_of(periods.train, categories))
    batches, labels = model.with_request_only(plain, label, params.train.request_only_share, params.train.seed)
    matrix = batches.in_memory()
    valid, test = (model.matrix_of(period, categories) for period in (periods.valid, periods.test))
    for treatment in treatments(label, params.cost):
        weights = np.where(labels, treatment.factor, 1.0)
        rows = np.arange(len(labels))
        if treatment.undersampled:
            draws = np.random.default_rng(params.train.seed).random(len(labels))
            weights, rows = np.ones(len(labels)), np.flatnonzero(labels | (draws < 1 / treatment.factor))
        chosen_weights = None if treatment.name == PLAIN else weights[rows]
        fitted = model.fit(training["best"], matrix[rows], labels[rows], params.train, chosen_weights)
        yield Trained(treatment, model.predict(fitted, valid), model.predict(fitted, test))


def with_label_at_least(entities: pd.DataFrame, label_at_least: float) -> pd.DataFrame:
    """The same entities, labelled by another limit; their features do not change."""
    return entities.assign(label=entities["value"] >= label_at_least)


def scores_by_treatment(periods: Periods, params: Params, trained: list[Trained]) -> list[dict[str, Any]]:
    """The scores of each treatment, uncorrected and prior-corrected."""
    rows = []
    plain = trained[0].test
    for treatment, valid, test in trained:
        rows.append({"name": treatment.name, **_figures(periods, valid, test, plain, params.cost)})
        if treatment.factor != 1:
            valid, test = (prior_corrected(each, treatment.factor) for each in (valid, test))
            rows.append(
                {"name": treatment.name + PRIOR_CORRECTED, **_figures(periods, valid, test, plain, params.cost)}
            )
    return rows


def _figures(periods: Periods, valid: Floats, test: Floats, plain: Floats, cost: Cost) -> dict[str, Any]:
    label, days = periods.test["label"].to_numpy(), periods.test["day"].to_numpy()
    valid_label = periods.valid["label"].to_numpy()
    threshold = float(min(THRESHOLDS, key=lambda each: evaluation.cost_per_1000(valid_label, valid, cost, each)))
    plain_cost = entity_costs_per_1000(label, plain, cost, cost.alert_threshold)
    differences = {
        "log_loss": evaluation.paired_difference(label, test, plain, days),
        "cost_per_1000": evaluation.mean_interval(
            entity_costs_per_1000(label, test, cost, cost.alert_threshold) - plain_cost, days
        ),
        "cost_at_own_threshold": evaluation.mean_interval(
            entity_costs_per_1000(label, test, cost, threshold) - plain_cost, days
        ),
    }
    return {
        **evaluation.scores(label, test, cost),
        "own_threshold": threshold,
        "cost_at_own_threshold": round(evaluation.cost_per_1000(label, test, cost, threshold), 1),
        "mean_probability": round(float(test.mean()), 4),
        "intervals": {name: list(each) for name, each in evaluation.intervals(label, test, days, cost).items()},
        "minus_plain": {name: each and [round(each.value, 4), *each.interval] for name, each in differences.items()},
    }


def draw_reliability(periods: Periods, trained: list[Trained]) -> None:
    """Draw the calibration without weights, with weights by cost, and prior-corrected."""
    label, (plain, weighted, *_) = periods.test["label"].to_numpy(), trained
    name, factor = weighted.treatment.name, weighted.treatment.factor
    probabilities = {
        PLAIN: plain.test,
        name: weighted.test,
        name + PRIOR_CORRECTED: prior_corrected(weighted.test, factor),
    }
    curves = {each: evaluation.calibration(label, values) for each, values in probabilities.items()}
    picture = plots.reliability(curves, name, dict(zip(curves, COLOURS, strict=True)))
    with replacing_folder(PICTURES) as folder:
        figures.save(picture, folder / "reliability.png")


def label_results(at_least: float, periods: Periods, params: Params, trained: list[Trained]) -> dict[str, Any]:
    """The entry of one label in imbalance.json."""
    return {
        "label_at_least": at_least,
        "trained_positive_share": round(float(periods.train["label"].mean()), 4),
        "positive_share": round(float(periods.test["label"].mean()), 4),
        "entities": len(periods.test),
        "treatments": scores_by_treatment(periods, params, trained),
    }


def measure_labels(params: Params, training: dict[str, Any]) -> list[dict[str, Any]]:
    """The results for each label; the first is that of params.yaml, and has a picture."""
    entities = [read_period(period) for period in split.periods(params.split).values()]
    labels = []
    with progress_bar(total=4 * len(MULTIPLES), desc="imbalance", unit="models") as progress:
        for at_least in (multiple * params.label.at_least for multiple in MULTIPLES):
            periods = Periods(*(with_label_at_least(period, at_least) for period in entities))
            trained = []
            for each in train_treatments(periods, params, training):
                trained.append(each)
                progress.update()
            labels.append(label_results(at_least, periods, params, trained))
            if len(labels) == 1:
                draw_reliability(periods, trained)
    return labels


def main() -> None:
    if not (MODELS / "training.json").exists():
        sys.exit("imbalance: models/training.json does not exist; run make train")
    params, training = load_params(), read_json(MODELS / "training.json")
    report = {
        "algorithm": training["best"],
        "lead_minutes": params.features.lead_minutes,
        "alert_threshold": params.cost.alert_threshold,
        "labels": measure_labels(params, training),
    }
    write_json(JSON, report)
    files.write_text(PAGE, class_imbalance_document(report))
    print(f"imbalance: wrote {JSON} and {PAGE}")
