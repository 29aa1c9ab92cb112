"""Stage 5: data/features/ -> models/: fits every candidate and selects the best on the validation period."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from ontime import evaluation, leaks, model, refusal, split
from ontime.candidates import CANDIDATES, exportable
from ontime.params import Params, load_params
from ontime.progress import progress_bar, steps
from ontime.schema import WORDS
from pipelines import labelled
from pipelines.labelled import LabelledRows
from pipelines.layout import COSTS, MODELS, TRAINED_ON, replacing_folder, write_json


def fit_candidates(
    train: LabelledRows,
    valid: LabelledRows,
    categories: Mapping[str, Sequence[str]],
    params: Params,
    folder: Path,
) -> dict[str, object]:
    """Fit, save and score each candidate. Returns the content of training.json, which the later stages read.

    Raises SplitBroken, and LeakFound if one feature dominates the best candidate.
    """
    periods = split.periods(params.split)
    for name, rows in (("train", train), ("valid", valid)):
        split.refuse_strays(name, pd.DataFrame({"day": rows.day}), periods[name])
    (folder / TRAINED_ON).write_bytes(np.sort(train.keys).tobytes())
    batches, labels = model.with_request_only(
        train.rows, train.label, params.train.request_only_share, params.train.seed
    )
    reads_batches = all(CANDIDATES[name].reads_batches for name in params.train.candidates)
    train_rows, valid_rows = (each if reads_batches else each.in_memory() for each in (batches, valid.rows))
    costs: dict[str, dict[str, float]] = {}
    scores: dict[str, dict[str, float]] = {}
    gains: dict[str, Sequence[float]] = {}
    with progress_bar(total=len(params.train.candidates), desc="train", unit="models") as bar:
        for name in params.train.candidates:
            bar.set_description_str(f"train: fits {name}")
            start = time.perf_counter()
            fitted = model.fit(name, train_rows, labels, params.train)
            costs[name] = {"fit_seconds": round(time.perf_counter() - start, 2)}
            scores[name] = evaluation.scores(valid.label, model.predict(fitted, valid_rows), params.cost)
            if (gain := CANDIDATES[name].gain) is not None:
                gains[name] = gain(fitted)
            joblib.dump(fitted, folder / f"{name}.joblib")
            bar.update()
    write_json(COSTS, costs)
    best = min(exportable(params.train.candidates), key=lambda name: (scores[name]["log_loss"], name))
    if best in gains:
        leaks.refuse_dominant(gains[best], params.leaks)
    return {
        "best": best,
        "valid": scores,
        "base_rate": round(float(train.label.mean()), 4),
        "entities": {"train": len(train.label), "valid": len(valid.label)},
        "categories": categories,
    }


def main() -> None:
    params = load_params()
    periods = split.periods(params.split)
    with steps("train", 2) as begin:
        begin("reads the categories")
        count, categories = labelled.survey(periods["train"])
        sample = leaks.TrainingSample(count)
        begin("reads the labels")
        train = labelled.read_rows(periods["train"], count, categories, sample.add)
        valid = labelled.read_rows(periods["valid"], labelled.survey(periods["valid"]).rows, categories)
    sample.refuse(params.leaks)
    del sample
    with replacing_folder(MODELS) as folder:
        training = fit_candidates(train, valid, categories, params, folder)
        write_json(folder / "training.json", training)
    print(
        f"train: {len(params.train.candidates)} candidates fitted on {count:,} {WORDS.entities}, "
        f"{training['best']} is best on validation"
    )


if __name__ == "__main__":
    with refusal.exit_on_refusal("train"):
        main()
