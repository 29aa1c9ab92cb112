"""`make imbalance`: class weights, measured -> reports/imbalance.json, a picture, docs/class_imbalance.md.

Not a stage. For the label of params.yaml and for two rarer ones, the algorithm is fitted with each treatment on the
training period; the validation period chooses each one's threshold, the test period scores it.
"""

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ontime import environment, evaluation, figures, files, model, plots, split
from ontime.fairness import paid_per_1000
from ontime.params import Cost, Params, load_params
from pipelines.imbalance_page import DIVIDED, PAGE, PLAIN, page
from pipelines.layout import MODELS, REPORTS, read_json, replacing_folder, write_json
from pipelines.train import read_period

Floats = NDArray[np.float64]

MULTIPLES = (1, 2, 4)  # of label.late_minutes: the later a flight must be, the rarer is the label
THRESHOLDS = np.arange(1, 100) / 100
JSON = REPORTS / "imbalance.json"
PICTURES = REPORTS / "imbalance"
COLOURS = ("#0072b2", "#e69f00", "#009e73")  # of plots.PALETTE


class Treatment(NamedTuple):
    """How the training rows are changed. Each way multiplies the odds that the model learns by `factor`."""

    name: str
    factor: float
    undersampled: bool = False


class Trained(NamedTuple):
    """One treatment's probabilities, as the model gives them."""

    treatment: Treatment
    valid: Floats
    test: Floats


class Periods(NamedTuple):
    train: pd.DataFrame
    valid: pd.DataFrame
    test: pd.DataFrame


def treatments(late: model.Labels, cost: Cost) -> list[Treatment]:
    balance = float((~late).sum() / late.sum())
    ratio = cost.missed_delay / cost.false_alarm
    return [
        Treatment(PLAIN, 1.0),
        Treatment(f"{ratio:g} : 1 weights (cost)", ratio),
        Treatment(f"{balance:.1f} : 1 weights (balanced)", balance),
        # Where most flights are late there are no on-time ones to leave out.
        Treatment(f"1 in {max(1.0, balance):.1f} undersampling", max(1.0, balance), undersampled=True),
    ]


def divided_back(probability: Floats, factor: float) -> Floats:
    """The probability whose odds are smaller by `factor`: the correction for a changed prior.

    Elkan (2001), "The Foundations of Cost-Sensitive Learning", theorem 2; King & Zeng (2001), "Logistic Regression in
    Rare Events Data"; Saerens, Latinne & Decaestecker (2002), "Adjusting the Outputs of a Classifier to New a Priori
    Probabilities".

    >>> divided_back(np.array([0.5]), 3.0)
    array([0.25])
    """
    return probability / (probability + factor * (1 - probability))


def train(periods: Periods, params: Params, training: dict[str, Any]) -> Iterator[Trained]:
    """The champion's algorithm with each treatment, on the same rows as the `train` stage gives it."""
    late, categories = periods.train["late"].to_numpy(), training["categories"]
    matrix, labels = model.with_schedule_only(
        model.matrix_of(periods.train, categories), late, params.train.schedule_only_share, params.train.seed
    )
    valid, test = (model.matrix_of(period, categories) for period in (periods.valid, periods.test))
    for treatment in treatments(late, params.cost):
        weights = np.where(labels, treatment.factor, 1.0)
        rows = np.arange(len(labels))
        if treatment.undersampled:
            drawn = np.random.default_rng(params.train.seed).random(len(labels))
            weights, rows = np.ones(len(labels)), np.flatnonzero(labels | (drawn < 1 / treatment.factor))
        chosen = None if treatment.name == PLAIN else weights[rows]
        fitted = model.fit(training["champion"], matrix[rows], labels[rows], params.train, chosen)
        yield Trained(treatment, model.predict(fitted, valid), model.predict(fitted, test))


def labelled_by(flights: pd.DataFrame, late_minutes: int) -> pd.DataFrame:
    """The same flights with a label by another number of minutes; their features stay as they were built."""
    return flights.assign(late=flights["arr_delay_minutes"] >= late_minutes)


def compare(periods: Periods, params: Params, trained: list[Trained]) -> list[dict[str, Any]]:
    """The scores of each treatment, and once more with its odds divided back."""
    rows = []
    plain = trained[0].test
    for treatment, valid, test in trained:
        rows.append({"name": treatment.name, **_figures(periods, valid, test, plain, params.cost)})
        if treatment.factor != 1:
            valid, test = (divided_back(each, treatment.factor) for each in (valid, test))
            rows.append({"name": treatment.name + DIVIDED, **_figures(periods, valid, test, plain, params.cost)})
    return rows


def _figures(periods: Periods, valid: Floats, test: Floats, plain: Floats, cost: Cost) -> dict[str, Any]:
    late, days = periods.test["late"].to_numpy(), periods.test["day"].to_numpy()
    valid_late = periods.valid["late"].to_numpy()
    threshold = float(min(THRESHOLDS, key=lambda each: evaluation.cost_per_1000(valid_late, valid, cost, each)))
    paid_plain = paid_per_1000(late, plain, cost, cost.alert_threshold)
    differences = {
        "log_loss": evaluation.paired_difference(late, test, plain, days),
        "cost_per_1000": evaluation.mean_interval(
            paid_per_1000(late, test, cost, cost.alert_threshold) - paid_plain, days
        ),
        "cost_at_own_threshold": evaluation.mean_interval(
            paid_per_1000(late, test, cost, threshold) - paid_plain, days
        ),
    }
    return {
        **evaluation.scores(late, test, cost),
        "own_threshold": threshold,
        "cost_at_own_threshold": round(evaluation.cost_per_1000(late, test, cost, threshold), 1),
        "mean_probability": round(float(test.mean()), 4),
        "intervals": {name: list(each) for name, each in evaluation.intervals(late, test, days, cost).items()},
        "less_plain": {name: each and [round(each.value, 4), *each.interval] for name, each in differences.items()},
    }


def draw(periods: Periods, trained: list[Trained]) -> None:
    """How right the probabilities are without weights, with weights by cost, and with their odds divided back."""
    late, (plain, weighted, *_) = periods.test["late"].to_numpy(), trained
    name, factor = weighted.treatment.name, weighted.treatment.factor
    told = {PLAIN: plain.test, name: weighted.test, name + DIVIDED: divided_back(weighted.test, factor)}
    curves = {each: evaluation.calibration(late, probability) for each, probability in told.items()}
    picture = plots.reliability(curves, name, dict(zip(curves, COLOURS, strict=True)))
    with replacing_folder(PICTURES) as folder:
        figures.save(picture, folder / "reliability.png")


def of_label(minutes: int, periods: Periods, params: Params, trained: list[Trained]) -> dict[str, Any]:
    """What imbalance.json says of one label."""
    return {
        "late_minutes": minutes,
        "trained_late_share": round(float(periods.train["late"].mean()), 4),
        "late_share": round(float(periods.test["late"].mean()), 4),
        "flights": len(periods.test),
        "treatments": compare(periods, params, trained),
    }


def measure(params: Params, training: dict[str, Any]) -> list[dict[str, Any]]:
    """The labels in order, the declared one first, whose picture is drawn."""
    flights = [read_period(period) for period in split.periods(params.split).values()]
    labels = []
    with tqdm(total=4 * len(MULTIPLES), desc="imbalance", unit="model", disable=None) as progress:
        for minutes in (multiple * params.label.late_minutes for multiple in MULTIPLES):
            periods = Periods(*(labelled_by(period, minutes) for period in flights))
            trained = []
            for each in train(periods, params, training):
                trained.append(each)
                progress.update()
            labels.append(of_label(minutes, periods, params, trained))
            if len(labels) == 1:
                draw(periods, trained)
    return labels


def main() -> None:
    if not (MODELS / "training.json").exists():
        sys.exit("imbalance: models/training.json does not exist; run make train")
    params, training = load_params(), read_json(MODELS / "training.json")
    report = {
        "champion": training["champion"],
        "lead_minutes": params.features.lead_minutes,
        "alert_threshold": params.cost.alert_threshold,
        "labels": measure(params, training),
    }
    write_json(JSON, report)
    files.write_text(PAGE, page(report))
    print(f"imbalance: wrote {JSON} and {PAGE}")


if __name__ == "__main__":
    environment.settle()
    main()
