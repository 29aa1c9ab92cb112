"""The space of LightGBM's parameters, and three ways to search it; the only file that imports Optuna."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import optuna

from ontime.candidates import LightGBMParams

# 20 points, as many as `tune.trials`. Two values of all six parameters would be 64, so three of them have only the
# middle of their range.
GRID: Mapping[str, Sequence[float]] = {
    "n_estimators": [250],
    "learning_rate": [0.02, 0.033, 0.055, 0.09, 0.15],
    "num_leaves": [27, 51],
    "min_child_samples": [100],
    "feature_fraction": [0.5, 0.8],
    "lambda_l2": [2.2],
}
SAMPLERS: Mapping[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "grid": lambda seed: optuna.samplers.GridSampler(GRID, seed=seed),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "bayesian": lambda seed: optuna.samplers.TPESampler(seed=seed),
}


class SearchTrial(NamedTuple):
    candidate: LightGBMParams
    log_loss: float


def suggested_params(trial: optuna.trial.BaseTrial) -> LightGBMParams:
    return LightGBMParams(
        n_estimators=trial.suggest_int("n_estimators", 100, 400, step=50),
        learning_rate=trial.suggest_float("learning_rate", 0.02, 0.15, log=True),
        num_leaves=trial.suggest_int("num_leaves", 15, 63),
        min_child_samples=trial.suggest_int("min_child_samples", 20, 500, log=True),
        feature_fraction=trial.suggest_float("feature_fraction", 0.3, 1.0),
        lambda_l2=trial.suggest_float("lambda_l2", 0.1, 50, log=True),
    )


def budget(sampler: str, trials: int) -> int:
    """The number of trials that a search makes if it may make `trials`: a grid has no more than its points."""
    return min(trials, math.prod(map(len, GRID.values()))) if sampler == "grid" else trials


def run_search(
    sampler: str,
    seed: int,
    trials: int,
    log_loss: Callable[[LightGBMParams], float],
    *,
    first: Sequence[LightGBMParams] = (),
) -> list[SearchTrial]:
    """The trials in their order, those of `first` before the sampler's own.

    The same seed and the same log-losses give the same trials.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line for each trial would break a progress bar
    study = optuna.create_study(sampler=SAMPLERS[sampler](seed))
    for candidate in first:
        study.enqueue_trial(candidate.model_dump())
    completed: list[SearchTrial] = []

    def objective(trial: optuna.Trial) -> float:
        candidate = suggested_params(trial)
        completed.append(SearchTrial(candidate, log_loss(candidate)))
        return completed[-1].log_loss

    study.optimize(objective, n_trials=trials)
    return completed


def ranges() -> dict[str, tuple[float, float]]:
    """The lowest and the highest value of each parameter."""
    trial = optuna.create_study().ask()
    suggested_params(trial)
    distributions: Mapping[str, Any] = trial.distributions  # all of them have both limits
    return {name: (each.low, each.high) for name, each in distributions.items()}
