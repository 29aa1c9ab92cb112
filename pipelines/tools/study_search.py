"""`ontime study search`: a grid, a random and a Bayesian search on equal budgets -> reports/study_search.json.

The searches read the rolling folds of the training period, as `make tune` does. Afterwards the best parameters of each
are compared with those of params.yaml on these folds, and on the validation period, which no search has read.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ontime import evaluation, feature_worth, locks, search_plots, split
from ontime.candidates import LightGBMParams
from ontime.feature_worth import ONE_SEED, SEEDS
from ontime.params import Params, ParamsBroken, Train, load_params
from ontime.progress import progress_bar
from ontime.refusal import Refusal
from pipelines.labelled import read_period
from pipelines.operations import train_and_promote
from pipelines.tools import rolling_folds, search_space, study_pages, timed_search
from pipelines.tools.rolling_folds import Fold
from pipelines.tools.timed_search import Trials

CHECKPOINTS = 4  # equal parts of the budget, after each of which the searches are compared
DESCRIPTIONS = {
    "grid": "all combinations of a few values, in random order",
    "random": "values drawn at random from the ranges",
    "bayesian": "ten random trials, then values near those of the best trials (Optuna's TPE)",
}

Judges = Mapping[str, Sequence[Fold]]


def measure_search(params: Params) -> dict[str, Any]:
    """The content of reports/study_search.json. Raises Refusal without parameters of lightgbm to compare with."""
    if "lightgbm" not in params.train.parameters:
        raise Refusal("params.yaml has no train.lightgbm, whose parameters the searches are compared with: add it")
    train, periods = params.train, split.periods(params.split)
    past, later = (read_period(periods[each]) for each in ("train", "valid"))
    folds = rolling_folds.rolling_folds(past, params.tune.folds)
    judges = {"folds": folds, "validation": [rolling_folds.fold_of(past, later)]}
    current = LightGBMParams.model_validate(train.of("lightgbm").model_dump())
    searches = timed_search.run_searches(folds, train, params.tune.trials)
    best = {name: min(trials, key=lambda trial: trial["log_loss"])["candidate"] for name, trials in searches.items()}
    compared = compare_candidates(judges, {"current": current, **best}, train)
    minutes = checkpoints(searches)
    lowest = min(trial["log_loss"] for trials in searches.values() for trial in trials)
    return {
        "dataset": params.dataset,
        "seeds": SEEDS,
        "one_seed": ONE_SEED,
        "least_difference": round(feature_worth.least_difference(SEEDS), 5),
        "folds": params.tune.folds,
        "trained_on": len(past),
        "judged_on": {name: sum(len(fold.later_label) for fold in each) for name, each in judges.items()},
        "ranges": search_space.ranges(),
        "current": {
            "parameters": current.model_dump(),
            "first_seed": round(rolling_folds.mean_log_loss(folds, current, train), 6),
            "judged": compared["current"],
        },
        "cpu_minutes": minutes,
        "searches": [
            {
                "name": name,
                "words": DESCRIPTIONS[name],
                "parameters": best[name].model_dump(),
                "judged": compared[name],
                "lowest": [timed_search.lowest_within(trials, 60 * each) for each in minutes],
                "near_lowest": timed_search.first_reaching(trials, lowest + ONE_SEED),
                "trials": [_plain(trial) for trial in trials],
            }
            for name, trials in searches.items()
        ],
    }


def _plain(trial: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {name: round(trial[name], 6) for name in ("log_loss", "cpu_seconds", "wall_seconds")}
    return {**numbers, "parameters": trial["candidate"].model_dump()}


def checkpoints(searches: Mapping[str, Trials]) -> list[float]:
    """CPU minutes: equal parts of the time that the shortest search took."""
    shortest = min(trials[-1]["cpu_seconds"] for trials in searches.values()) / 60
    return [round(shortest * part / CHECKPOINTS, 2) for part in range(1, CHECKPOINTS + 1)]


def compare_candidates(
    judges: Judges, candidates: Mapping[str, LightGBMParams], train: Train
) -> dict[str, dict[str, Any]]:
    """By candidate and judge, the mean log-loss over seeds, and what the candidate is worth against the current one."""
    distinct = dict.fromkeys(candidates.values())
    compared: dict[str, dict[str, Any]] = {name: {} for name in candidates}
    with progress_bar(total=len(judges) * len(distinct) * SEEDS, desc="study search: compares", unit="seeds") as bar:
        for judge, folds in judges.items():
            probabilities = {each: rolling_folds.seeded_probabilities(folds, each, train, bar) for each in distinct}
            label = np.concatenate([fold.later_label for fold in folds])
            for name, candidate in candidates.items():
                losses = [evaluation.losses(label, each).mean() for each in probabilities[candidate]]
                worth = rolling_folds.worth_over(folds, probabilities[candidate], probabilities[candidates["current"]])
                compared[name][judge] = {"log_loss": round(float(np.mean(losses)), 6), "worth": _rounded(worth)}
    return compared


def _rounded(worth: feature_worth.Worth) -> dict[str, Any]:
    return {name: str(each) if name == "verdict" else round(each, 6) for name, each in worth._asdict().items()}


def main() -> None:
    try:
        params = load_params()
        with locks.hold(locks.WORKSPACE, "make study-search"):
            train_and_promote.run_stages("features")  # so that they are those of params.yaml
            report = measure_search(params)
            study_pages.SEARCH.write(report, {study_pages.SEARCH.picture: search_plots.progress_of_searches(report)})
            shutil.rmtree(timed_search.CACHE)  # so that the next study measures everything again
    except (locks.Busy, train_and_promote.NotTrained, ParamsBroken, Refusal) as refused:
        sys.exit(f"study search: {refused}")
