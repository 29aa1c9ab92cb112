"""`make tune`: an Optuna study of LightGBM on rolling folds of the training period; prints the best parameters.

Not a stage. Each fold validates on the month after the months it trains on; the validation and test periods are never
read. The search uses one seed; afterwards the best parameters are compared with the current ones with several, because
a seed alone changes the log-loss. The values are copied into params.yaml by hand, so that a person reviews them and git
records them.
"""

from collections.abc import Iterator

import numpy as np
import optuna
import pandas as pd
import yaml

from ontime import evaluation, feature_worth, model, split
from ontime.candidates import LightGBMParams
from ontime.feature_worth import SEEDS, Worth, WorthVerdict
from ontime.params import Params, Train, load_params
from pipelines.labelled import read_period

ADVICE = {
    WorthVerdict.WORTH: "better beyond noise: copy them into params.yaml",
    WorthVerdict.NOISE: "within noise: keep the current ones",
    WorthVerdict.WORSE: "worse: keep the current ones",
}


def rolling_folds(days: pd.Series, folds: int) -> list[tuple[pd.Series, pd.Series]]:
    """Masks of training and validation rows: the last `folds` months, each after all earlier months."""
    months = days.dt.to_period("M")
    return [(months < month, months == month) for month in sorted(months.unique())[-folds:]]


def suggested_params(trial: optuna.trial.BaseTrial) -> LightGBMParams:
    return LightGBMParams(
        n_estimators=trial.suggest_int("n_estimators", 100, 400, step=50),
        learning_rate=trial.suggest_float("learning_rate", 0.02, 0.15, log=True),
        num_leaves=trial.suggest_int("num_leaves", 15, 63),
        min_child_samples=trial.suggest_int("min_child_samples", 20, 500, log=True),
        feature_fraction=trial.suggest_float("feature_fraction", 0.3, 1.0),
        lambda_l2=trial.suggest_float("lambda_l2", 0.1, 50, log=True),
    )


def predicted_folds(
    features: pd.DataFrame, candidate: LightGBMParams, train: Train, folds: int
) -> Iterator[tuple[pd.DataFrame, model.Probabilities]]:
    """The rows of each fold's month with their probabilities; a fold's categories come from its training months."""
    changed = train.changed("lightgbm", **candidate.model_dump())
    for past, month in rolling_folds(features["day"], folds):
        categories = model.categories_of(features[past])
        label = features.loc[past, "label"].to_numpy()
        fitted = model.fit("lightgbm", model.matrix_of(features[past], categories), label, changed)
        yield features[month], model.predict(fitted, model.matrix_of(features[month], categories))


def mean_log_loss(features: pd.DataFrame, candidate: LightGBMParams, params: Params) -> float:
    """The mean log-loss over the folds."""
    folds = predicted_folds(features, candidate, params.train, params.tune.folds)
    return float(np.mean([evaluation.losses(rows["label"].to_numpy(), each).mean() for rows, each in folds]))


def worth_of_change(features: pd.DataFrame, best: LightGBMParams, params: Params) -> Worth:
    """What the best parameters are worth against the current ones, as the mean of several seeds.

    The same folds have chosen them, which favours them: a worth just beyond noise may still be the luck of the search.
    """
    current = LightGBMParams.model_validate(params.train.of("lightgbm").model_dump())
    probabilities: dict[str, list[model.Probabilities]] = {"best": [], "current": []}
    for seed in range(params.train.seed, params.train.seed + SEEDS):
        seeded = params.train.model_copy(update={"seed": seed})
        for name, candidate in (("best", best), ("current", current)):
            folds = list(predicted_folds(features, candidate, seeded, params.tune.folds))
            probabilities[name].append(np.concatenate([each for _, each in folds]))
    rows = pd.concat([rows for rows, _ in folds])
    having, lacking = (np.stack(probabilities[name]) for name in ("best", "current"))
    return feature_worth.worth(rows["label"].to_numpy(), having, lacking, rows["day"].to_numpy())


def main() -> None:
    params = load_params()
    features = read_period(split.periods(params.split)["train"])
    # Optuna's line for each trial would break the progress bar.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=params.train.seed))
    study.enqueue_trial(params.train.of("lightgbm").model_dump())  # the current values are the baseline
    study.optimize(
        lambda trial: mean_log_loss(features, suggested_params(trial), params),
        n_trials=params.tune.trials,
        show_progress_bar=True,
    )
    current = study.trials[0].value
    print(f"tune: mean log-loss over {params.tune.folds} months {study.best_value:.4f}, currently {current:.4f}")
    if study.best_trial.number == 0:
        print("tune: no trial is better than the current parameters")
        return
    best = suggested_params(optuna.trial.FixedTrial(study.best_params))
    worth = worth_of_change(features, best, params)
    print(
        f"tune: {SEEDS} seeds save {worth.value:.4f} ({worth.low:.4f} to {worth.high:.4f} by days, "
        f"{worth.seed_deviation:.4f} standard deviation by seed), {ADVICE[worth.verdict]}"
    )
    print(yaml.safe_dump({"lightgbm": best.model_dump()}))
