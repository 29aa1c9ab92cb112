"""Stage 5: data/features/ -> models/: every candidate fitted on the training period, the best chosen on validation."""

import time
from collections.abc import Sequence
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm

from ontime import evaluation, leaks, model, refusal, schema, split
from ontime.candidates import CANDIDATES, exportable
from ontime.params import Params, load_params
from pipelines.layout import COSTS, FEATURES, MODELS, read_months, replacing_folder, write_json

WITHOUT_TAILNUM = "without_tailnum.joblib"
TRAINED_ON = "trained_on.bin"
TAILNUM_POSITIONS = [schema.FEATURE_NAMES.index(name) for name in schema.FROM_TAILNUM]


def read_period(period: split.Period) -> pd.DataFrame:
    """The labelled flights of a period, with their features."""
    return split.labelled(split.within(read_months(FEATURES, split.months(period)), period))


def without_tailnum(matrix: model.Matrix) -> model.Matrix:
    masked = matrix.copy()
    masked[:, TAILNUM_POSITIONS] = np.nan
    return masked


def fit_candidates(train: pd.DataFrame, valid: pd.DataFrame, params: Params, folder: Path) -> dict[str, object]:
    """Fit, save and score each candidate; returns what the later stages must know of this training.

    Raises SplitBroken, and LeakFound if one feature dominates the best candidate.
    """
    periods = split.periods(params.split)
    split.refuse_strays("train", train, periods["train"])
    split.refuse_strays("valid", valid, periods["valid"])
    categories = model.categories_of(train)
    late, valid_late = train["late"].to_numpy(), valid["late"].to_numpy()
    plain, valid_matrix = model.matrix_of(train, categories), model.matrix_of(valid, categories)
    matrix, labels = model.with_schedule_only(plain, late, params.train.schedule_only_share, params.train.seed)
    costs: dict[str, dict[str, float]] = {}
    scores: dict[str, dict[str, float]] = {}
    gains: dict[str, Sequence[float]] = {}
    for name in tqdm(params.train.candidates, desc="train", unit="model", disable=None):
        began = time.perf_counter()
        fitted = model.fit(name, matrix, labels, params.train)
        costs[name] = {"fit_seconds": round(time.perf_counter() - began, 2)}
        scores[name] = evaluation.scores(valid_late, model.predict(fitted, valid_matrix), params.cost)
        if (gain := CANDIDATES[name].gain) is not None:
            gains[name] = gain(fitted)
        joblib.dump(fitted, folder / f"{name}.joblib")
    write_json(COSTS, costs)
    champion = min(exportable(params.train.candidates), key=lambda name: (scores[name]["log_loss"], name))
    if champion in gains:
        leaks.refuse_dominant(gains[champion], params.leaks)
    if params.train.without_tailnum:
        # What hangs on the tail number may in life still change: the score without it is reported.
        blind = model.fit(champion, without_tailnum(matrix), labels, params.train)
        joblib.dump(blind, folder / WITHOUT_TAILNUM)
    (folder / TRAINED_ON).write_bytes(np.sort(split.row_keys(train["flight_id"])).tobytes())
    return {
        "champion": champion,
        "valid": scores,
        "usual_rate": round(float(late.mean()), 4),
        "flights": {"train": len(train), "valid": len(valid)},
        "categories": categories,
    }


def main() -> None:
    params = load_params()
    periods = split.periods(params.split)
    train, valid = read_period(periods["train"]), read_period(periods["valid"])
    leaks.refuse(train, train[["late", "arr_delay_minutes"]])
    leaks.refuse_telling(train, train["late"], params.leaks)
    with replacing_folder(MODELS) as folder:
        training = fit_candidates(train, valid, params, folder)
        write_json(folder / "training.json", training)
    print(f"train: {len(train):,} flights, {len(params.train.candidates)} candidates, best is {training['champion']}")


if __name__ == "__main__":
    with refusal.told("train"):
        main()
