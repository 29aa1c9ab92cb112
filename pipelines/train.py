"""Stage 5: data/features/ -> models/: fits every candidate and selects the best on the validation period."""

import time
from collections.abc import Sequence
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from ontime import evaluation, leaks, model, refusal, split
from ontime.candidates import CANDIDATES, exportable
from ontime.params import Params, load_params
from ontime.progress import progress_bar
from ontime.schema import WORDS
from pipelines.labelled import read_period
from pipelines.layout import COSTS, MODELS, TRAINED_ON, replacing_folder, write_json


def fit_candidates(train: pd.DataFrame, valid: pd.DataFrame, params: Params, folder: Path) -> dict[str, object]:
    """Fit, save and score each candidate. Returns the content of training.json, which the later stages read.

    Raises SplitBroken, and LeakFound if one feature dominates the best candidate.
    """
    periods = split.periods(params.split)
    split.refuse_strays("train", train, periods["train"])
    split.refuse_strays("valid", valid, periods["valid"])
    categories = model.categories_of(train)
    label, valid_label = train["label"].to_numpy(), valid["label"].to_numpy()
    plain, valid_matrix = model.matrix_of(train, categories), model.matrix_of(valid, categories)
    matrix, labels = model.with_request_only(plain, label, params.train.request_only_share, params.train.seed)
    costs: dict[str, dict[str, float]] = {}
    scores: dict[str, dict[str, float]] = {}
    gains: dict[str, Sequence[float]] = {}
    with progress_bar(total=len(params.train.candidates), desc="train", unit="models") as bar:
        for name in params.train.candidates:
            bar.set_description_str(f"train: fits {name}")
            start = time.perf_counter()
            fitted = model.fit(name, matrix, labels, params.train)
            costs[name] = {"fit_seconds": round(time.perf_counter() - start, 2)}
            scores[name] = evaluation.scores(valid_label, model.predict(fitted, valid_matrix), params.cost)
            if (gain := CANDIDATES[name].gain) is not None:
                gains[name] = gain(fitted)
            joblib.dump(fitted, folder / f"{name}.joblib")
            bar.update()
    write_json(COSTS, costs)
    best = min(exportable(params.train.candidates), key=lambda name: (scores[name]["log_loss"], name))
    if best in gains:
        leaks.refuse_dominant(gains[best], params.leaks)
    (folder / TRAINED_ON).write_bytes(np.sort(split.row_keys(train["entity_id"])).tobytes())
    return {
        "best": best,
        "valid": scores,
        "base_rate": round(float(label.mean()), 4),
        "entities": {"train": len(train), "valid": len(valid)},
        "categories": categories,
    }


def main() -> None:
    params = load_params()
    periods = split.periods(params.split)
    train, valid = read_period(periods["train"]), read_period(periods["valid"])
    leaks.refuse(train, train[["label", "value"]], params.leaks)
    leaks.refuse_predictive(train, train["label"], params.leaks)
    with replacing_folder(MODELS) as folder:
        training = fit_candidates(train, valid, params, folder)
        write_json(folder / "training.json", training)
    print(
        f"train: {len(params.train.candidates)} candidates fitted on {len(train):,} {WORDS.entities}, "
        f"{training['best']} is best on validation"
    )


if __name__ == "__main__":
    with refusal.exit_on_refusal("train"):
        main()
