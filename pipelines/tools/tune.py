"""`make tune`: an Optuna study of LightGBM on rolling folds of the training period; prints the best parameters.

Not a stage. Each fold validates on the month after the months it trains on; the validation and test periods are never
read. The search uses one seed; afterwards the best parameters are compared with the current ones with several, because
a seed alone changes the log-loss. The values are copied into params.yaml by hand, so that a person reviews them and git
records them.
"""

import sys

import yaml

from ontime import split
from ontime.candidates import LightGBMParams
from ontime.feature_worth import SEEDS, WorthVerdict
from ontime.params import load_params
from ontime.progress import progress_bar
from ontime.refusal import Refusal
from pipelines.labelled import read_period
from pipelines.tools import rolling_folds, search_space

ADVICE = {
    WorthVerdict.WORTH: "better beyond noise: copy them into params.yaml",
    WorthVerdict.NOISE: "within noise: keep the current ones",
    WorthVerdict.WORSE: "worse: keep the current ones",
}


def main() -> None:
    params = load_params()
    train, tune = params.train, params.tune
    try:
        folds = rolling_folds.rolling_folds(read_period(split.periods(params.split)["train"]), tune.folds)
    except Refusal as refused:
        sys.exit(f"tune: {refused}")
    current = LightGBMParams.model_validate(train.of("lightgbm").model_dump())
    with progress_bar(total=tune.trials, desc="tune", unit="trials") as bar:

        def log_loss(candidate: LightGBMParams) -> float:
            value = rolling_folds.mean_log_loss(folds, candidate, train)
            bar.update()
            return value

        # The current values are the baseline.
        trials = search_space.run_search("bayesian", train.seed, tune.trials, log_loss, first=[current])
    best = min(trials, key=lambda trial: trial.log_loss)
    print(f"tune: mean log-loss over {tune.folds} months {best.log_loss:.4f}, currently {trials[0].log_loss:.4f}")
    if best.candidate == current:
        print("tune: no trial is better than the current parameters")
        return
    worth = rolling_folds.worth_of_change(folds, best.candidate, train)
    print(
        f"tune: {SEEDS} seeds save {worth.value:.4f} ({worth.low:.4f} to {worth.high:.4f} by days, "
        f"{worth.seed_deviation:.4f} standard deviation by seed), {ADVICE[worth.verdict]}"
    )
    print(yaml.safe_dump({"lightgbm": best.candidate.model_dump()}))
