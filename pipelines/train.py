"""Stage 5: data/features/ -> models/: fits every candidate and selects the best on the validation period.

Candidates that are too close for one seed to tell apart are compared by the mean of several seeds.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import joblib
import numpy as np
import pandas as pd

from ontime import evaluation, leaks, model, refusal, split
from ontime.batches import Batches
from ontime.candidates import CANDIDATES, exportable
from ontime.feature_worth import ONE_SEED, SEEDS
from ontime.params import Params, Train, load_params
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
) -> dict[str, Any]:
    """Fit, save and score each candidate. Returns the content of training.json, which the later stages read.

    Raises SplitBroken, and LeakFound if one feature dominates the best candidate.
    """
    periods = split.periods(params.split)
    for name, rows in (("train", train), ("valid", valid)):
        split.refuse_strays(name, pd.DataFrame({"day": rows.day}), periods[name])
    (folder / TRAINED_ON).write_bytes(np.sort(train.keys).tobytes())
    if not _read_batches(params.train):
        valid = valid._replace(rows=Batches.of(valid.rows.in_memory()))
    costs: dict[str, dict[str, float]] = {}
    scores: dict[str, dict[str, float]] = {}
    gains: dict[str, Sequence[float]] = {}
    curves: dict[str, Mapping[str, Sequence[float]]] = {}
    with progress_bar(total=len(params.train.candidates), desc="train", unit="models") as bar:
        rows_and_labels = rows_to_fit(train, params.train)
        for name in params.train.candidates:
            bar.set_description_str(f"train: fits {name}")
            start = time.perf_counter()
            fitted = model.fit(name, *rows_and_labels, params.train)
            costs[name] = {"fit_seconds": round(time.perf_counter() - start, 2)}
            scores[name] = evaluation.scores(valid.label, model.predict(fitted, valid.rows), params.cost)
            if (gain := CANDIDATES[name].gain) is not None:
                gains[name] = gain(fitted)
            if learned := model.curves_of(fitted):
                curves[name] = learned
            joblib.dump(fitted, folder / f"{name}.joblib")
            bar.update()
    write_json(COSTS, costs)
    losses = {name: scores[name]["log_loss"] for name in exportable(params.train.candidates)}
    by_seed = losses_by_seed(losses, train, valid, params)
    best = min(by_seed or losses, key=lambda name: (fmean(by_seed.get(name, [losses[name]])), name))
    if best in gains:
        leaks.refuse_dominant(gains[best], params.leaks)
    return {
        "best": best,
        "valid": scores,
        "log_loss_by_seed": by_seed,
        "curves": curves,
        "base_rate": round(float(train.label.mean()), 4),
        "entities": {"train": len(train.label), "valid": len(valid.label)},
        "categories": categories,
    }


def _read_batches(params: Train) -> bool:
    return all(CANDIDATES[name].reads_batches for name in params.candidates)


def rows_to_fit(train: LabelledRows, params: Train) -> tuple[Batches | model.Matrix, model.Labels]:
    """The training rows, and after them the copies that this seed chooses; a matrix if a candidate needs one."""
    batches, labels = model.with_request_only(train.rows, train.label, params.request_only_share, params.seed)
    return (batches if _read_batches(params) else batches.in_memory()), labels


def losses_by_seed(
    losses: Mapping[str, float], train: LabelledRows, valid: LabelledRows, params: Params
) -> dict[str, list[float]]:
    """The validation log-loss with SEEDS seeds of the candidates that one seed cannot tell from the best.

    Another seed may win or lose ONE_SEED. Empty if all others are worse than the best by more.
    """
    close = [name for name, loss in losses.items() if loss - min(losses.values()) < ONE_SEED]
    if len(close) == 1:
        return {}
    by_seed = {name: [losses[name]] for name in close}
    with progress_bar(total=len(close) * (SEEDS - 1), desc="train: other seeds", unit="models") as bar:
        for seed in range(params.train.seed + 1, params.train.seed + SEEDS):
            seeded = params.train.model_copy(update={"seed": seed})
            rows_and_labels = rows_to_fit(train, seeded)
            for name in close:
                bar.set_description_str(f"train: fits {name} with seed {seed}")
                probability = model.predict(model.fit(name, *rows_and_labels, seeded), valid.rows)
                by_seed[name].append(evaluation.scores(valid.label, probability, params.cost)["log_loss"])
                bar.update()
    return by_seed


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
    by_seed = training["log_loss_by_seed"]
    means = ", ".join(f"{name} {fmean(losses):.4f}" for name, losses in by_seed.items())
    print(
        f"train: {len(params.train.candidates)} candidates fitted on {count:,} {WORDS.entities}, "
        f"{training['best']} is best on validation" + (f" (mean log-loss of {SEEDS} seeds: {means})" if means else "")
    )


if __name__ == "__main__":
    with refusal.exit_on_refusal("train"):
        main()
