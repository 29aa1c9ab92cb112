"""`ontime study card`: what the model card shows and no training waits for -> reports/study.json.

- Ablations: the best algorithm fitted again without the features of each declared ablation.
- Feature importance: the loss when one feature is shuffled (permutation importance).
- The coverage of conformal sets, on the validation period and on the test period.

No gate and no release needs them, so they are not part of `make train`.
"""

import sys
from typing import Any

import joblib
import pandas as pd
from sklearn.inspection import permutation_importance

from ontime import conformal, evaluation, locks, model, schema, slices, split
from ontime.model_study import StudiedModel, Study
from ontime.params import Params, ParamsBroken, load_params
from ontime.problem import PROBLEM
from ontime.progress import progress_bar
from ontime.refusal import Refusal
from pipelines.labelled import LabelledRows, read_period, read_rows
from pipelines.layout import MODELS, REPORTS, STUDY, read_json, read_training, write_json
from pipelines.operations import train_and_promote

REPEATS = 2  # each feature is shuffled this often


def ablated_scores(best: str, train: LabelledRows, test: LabelledRows, params: Params) -> dict[str, dict[str, float]]:
    """The test scores of the algorithm fitted without the features of each declared ablation."""
    rows, label = model.with_request_only(train.rows, train.label, params.train.request_only_share, params.train.seed)
    matrix, test_matrix = rows.in_memory(), test.rows.in_memory()
    scores = {}
    for name in progress_bar(PROBLEM.ablations, desc="study: fits without features", unit="ablations"):
        fitted = model.fit(best, model.ablated(matrix, name), label, params.train)
        probability = model.predict(fitted, model.ablated(test_matrix, name))
        scores[name] = evaluation.scores(test.label, probability, params.cost)
    return scores


def feature_importance(fitted: model.Classifier, test: LabelledRows, params: Params) -> dict[str, tuple[float, float]]:
    """The increase of the log-loss when a feature is shuffled: mean and standard deviation, largest mean first."""
    step = max(1, len(test.label) // params.study.importance_rows)
    with progress_bar(total=1 + len(schema.FEATURES) * REPEATS, desc="study: shuffles", unit="times") as bar:

        def negative_log_loss(fitted: model.Classifier, matrix: model.Matrix, label: model.Labels) -> float:
            bar.update()
            return -float(evaluation.losses(label, model.predict(fitted, matrix)).mean())

        permuted = permutation_importance(
            fitted, test.rows.in_memory()[::step], test.label[::step], scoring=negative_log_loss,
            n_repeats=REPEATS, random_state=params.train.seed,
        )  # fmt: skip
    figures = zip(schema.FEATURE_NAMES, permuted.importances_mean, permuted.importances_std, strict=True)
    ranked = sorted(figures, key=lambda figure: -figure[1])
    return {name: (round(float(mean), 5), round(float(deviation), 5)) for name, mean, deviation in ranked}


def set_coverage(
    valid: pd.DataFrame, valid_probability: model.Probabilities, test: pd.DataFrame, probability: model.Probabilities
) -> list[dict[str, Any]]:
    """Coverage of conformal sets calibrated on the validation period: there, and on the test period by slice."""
    dimensions = slices.of_entities(test)
    calibration = conformal.GroupedProbabilities(valid_probability, slices.groups(slices.of_entities(valid)))
    later = conformal.GroupedProbabilities(probability, slices.groups(dimensions))
    label, test_label = valid["label"].to_numpy(), test["label"].to_numpy()
    sets = conformal.prediction_sets(calibration, label, later)
    shown = pd.DataFrame(
        {"test": "all", **{dimension: dimensions[dimension] for dimension in (slices.GROUP, "month") if dimension}}
    )
    return [
        *conformal.control_coverage(calibration, label, valid["day"].to_numpy()),
        *conformal.coverage(test_label, sets, test["day"].to_numpy(), shown),
    ]


def measure_study(params: Params) -> Study:
    """The study of the model in models/, whose scores are in reports/metrics.json."""
    training, metrics = read_training(), read_json(REPORTS / "metrics.json")
    best, categories, count = training["best"], training["categories"], training["entities"]["train"]
    periods, fitted = split.periods(params.split), joblib.load(MODELS / f"{best}.joblib")
    valid, test = (read_period(periods[name], ["day", "label", *slices.FEATURES]) for name in ("valid", "test"))
    valid_rows, rows = (
        read_rows(periods[name], len(table), categories) for name, table in (("valid", valid), ("test", test))
    )
    return Study(
        of=StudiedModel(params.dataset, best, **metrics["candidates"][best]),
        ablations=ablated_scores(best, read_rows(periods["train"], count, categories), rows, params),
        importance=feature_importance(fitted, rows, params),
        coverage=set_coverage(valid, model.predict(fitted, valid_rows.rows), test, model.predict(fitted, rows.rows)),
    )


def main() -> None:
    try:
        params = load_params()
        with locks.hold(locks.WORKSPACE, "make study"):
            train_and_promote.run_stages("evaluate")  # so that the models are those of params.yaml
            write_json(STUDY, measure_study(params).as_json())
            train_and_promote.run_stages("evaluate")  # writes the card with it
    except (locks.Busy, train_and_promote.NotTrained, ParamsBroken, Refusal) as refused:
        sys.exit(f"study: {refused}")
    print(f"study: {REPORTS / 'model_card.md'} has the worth of the features, and the coverage of conformal sets")
