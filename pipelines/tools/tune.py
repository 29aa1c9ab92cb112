"""`make tune`: an Optuna study of LightGBM on rolling folds of the training period; prints the best parameters.

Not a stage. Each fold validates on the month after the months it trains on; the validation and test periods are never
read. The values are copied into params.yaml by hand, so that a person reviews them and git records them.
"""

import numpy as np
import optuna
import pandas as pd
import yaml

from ontime import evaluation, model, split
from ontime.candidates import LightGBMParams
from ontime.params import Params, load_params
from pipelines.labelled import read_period


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


def mean_log_loss(features: pd.DataFrame, candidate: LightGBMParams, params: Params) -> float:
    """The mean log-loss over the folds; each fold's categories come from its training months."""
    train = params.train.changed("lightgbm", **candidate.model_dump())
    losses = []
    for past, month in rolling_folds(features["day"], params.tune.folds):
        categories = model.categories_of(features[past])
        fitted = model.fit(
            "lightgbm", model.matrix_of(features[past], categories), features.loc[past, "label"].to_numpy(), train
        )
        probabilities = model.predict(fitted, model.matrix_of(features[month], categories))
        losses.append(evaluation.losses(features.loc[month, "label"].to_numpy(), probabilities).mean())
    return float(np.mean(losses))


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
    print(yaml.safe_dump({"lightgbm": suggested_params(optuna.trial.FixedTrial(study.best_params)).model_dump()}))
