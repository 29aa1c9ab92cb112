"""Searches for parameters on the same folds, with the time that each has used; an interrupted search continues."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import joblib

from ontime.candidates import LightGBMParams
from ontime.params import Train
from ontime.progress import progress_bar
from pipelines.tools import rolling_folds, search_space
from pipelines.tools.rolling_folds import Fold

CACHE = Path("var/search")

Trials = list[dict[str, Any]]


class Evaluation(NamedTuple):
    log_loss: float
    cpu_seconds: float
    wall_seconds: float


def evaluate_candidate(
    candidate: LightGBMParams,
    digest: str,  # noqa: ARG001  stands for folds and train in the key of the cache
    folds: Sequence[Fold],
    train: Train,
) -> Evaluation:
    cpu, wall = time.process_time(), time.perf_counter()
    log_loss = rolling_folds.mean_log_loss(folds, candidate, train)
    return Evaluation(log_loss, time.process_time() - cpu, time.perf_counter() - wall)


def run_searches(folds: Sequence[Fold], train: Train, trials: int, cache: Path = CACHE) -> dict[str, Trials]:
    """The trials of each search, with the time since its start.

    A point is fitted once: later, and after an interruption, its log-loss and its time come from `cache`. Optuna's own
    storage is not needed, because a search with the same seed and the same log-losses tries the same points.
    """
    digest = joblib.hash((folds, train.model_dump_json()))
    cached = joblib.Memory(cache, verbose=0).cache(evaluate_candidate, ignore=["folds", "train"])
    budgets = {name: search_space.budget(name, trials) for name in search_space.SAMPLERS}
    with progress_bar(total=sum(budgets.values()), desc="study search", unit="trials") as bar:

        def evaluate(candidate: LightGBMParams) -> Evaluation:
            result: Evaluation = cached(candidate, digest, folds, train)
            bar.update()
            return result

        return {name: timed_search(name, evaluate, train.seed, budget) for name, budget in budgets.items()}


def timed_search(name: str, evaluate: Callable[[LightGBMParams], Evaluation], seed: int, trials: int) -> Trials:
    """The trials of one search. The times are those of the fits: Optuna itself needs a few milliseconds for a trial."""
    evaluations: list[Evaluation] = []

    def log_loss(candidate: LightGBMParams) -> float:
        evaluations.append(evaluate(candidate))
        return evaluations[-1].log_loss

    completed = search_space.run_search(name, seed, trials, log_loss)
    cpu = accumulate(each.cpu_seconds for each in evaluations)
    wall = accumulate(each.wall_seconds for each in evaluations)
    return [
        {"log_loss": trial.log_loss, "cpu_seconds": used, "wall_seconds": passed, "candidate": trial.candidate}
        for trial, used, passed in zip(completed, cpu, wall, strict=True)
    ]


def lowest_within(trials: Sequence[Mapping[str, Any]], cpu_seconds: float) -> float | None:
    """The lowest log-loss of the trials that had ended by then; None if there were none."""
    return min((trial["log_loss"] for trial in trials if trial["cpu_seconds"] <= cpu_seconds), default=None)


def first_reaching(trials: Sequence[Mapping[str, Any]], log_loss: float) -> dict[str, float] | None:
    """Number and time of the first trial with at most this log-loss; None if there is none."""
    for number, trial in enumerate(trials, 1):
        if trial["log_loss"] <= log_loss:
            return {"trial": number, "cpu_seconds": trial["cpu_seconds"]}
    return None
