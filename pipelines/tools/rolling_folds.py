"""Fits LightGBM with other parameters on past entities and judges it on later ones, for `make tune` and its study."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import evaluation, feature_worth, model
from ontime.batches import Matrix
from ontime.candidates import LightGBMParams
from ontime.feature_worth import SEEDS, Worth
from ontime.params import Train
from ontime.progress import ProgressBar
from ontime.refusal import Refusal


class Fold(NamedTuple):
    rows: Matrix
    label: model.Labels
    later: Matrix
    later_label: model.Labels
    later_day: NDArray[np.datetime64]


def fold_of(past: pd.DataFrame, later: pd.DataFrame) -> Fold:
    """The categories come from the past alone."""
    categories = model.categories_of(past)
    rows, later_rows = (model.matrix_of(each, categories) for each in (past, later))
    return Fold(rows, past["label"].to_numpy(), later_rows, later["label"].to_numpy(), later["day"].to_numpy())


def rolling_folds(features: pd.DataFrame, folds: int) -> list[Fold]:
    """Each of the last `folds` months, after all earlier months. Raises Refusal if no month is left to fit on."""
    months = features["day"].dt.to_period("M")
    distinct = sorted(months.unique())
    if len(distinct) <= folds:
        raise Refusal(
            f"the training period has {len(distinct)} months, and {folds} folds need at least {folds + 1}: "
            "lower tune.folds in params.yaml, or let the period begin earlier"
        )
    return [fold_of(features[months < month], features[months == month]) for month in distinct[-folds:]]


def fold_probabilities(folds: Sequence[Fold], candidate: LightGBMParams, train: Train) -> list[model.Probabilities]:
    """The probabilities of each fold's later entities."""
    changed = train.changed("lightgbm", **candidate.model_dump())
    fitted = (model.fit("lightgbm", fold.rows, fold.label, changed) for fold in folds)
    return [model.predict(each, fold.later) for each, fold in zip(fitted, folds, strict=True)]


def mean_log_loss(folds: Sequence[Fold], candidate: LightGBMParams, train: Train) -> float:
    """The mean log-loss over the folds."""
    probabilities = fold_probabilities(folds, candidate, train)
    losses = [evaluation.losses(fold.later_label, each) for fold, each in zip(folds, probabilities, strict=True)]
    return float(np.mean([each.mean() for each in losses]))


def seeded_probabilities(
    folds: Sequence[Fold], candidate: LightGBMParams, train: Train, bar: "ProgressBar[Any] | None" = None
) -> NDArray[np.float64]:
    """The probabilities of all later entities by SEEDS seeds, shape (seeds, entities)."""
    by_seed = []
    for seed in range(train.seed, train.seed + SEEDS):
        seeded = train.model_copy(update={"seed": seed})
        by_seed.append(np.concatenate(fold_probabilities(folds, candidate, seeded)))
        if bar is not None:
            bar.update()
    return np.stack(by_seed)


def worth_over(folds: Sequence[Fold], having: NDArray[np.float64], lacking: NDArray[np.float64]) -> Worth:
    """What one set of parameters is worth against another one, from `seeded_probabilities` of both."""
    label, day = (np.concatenate([getattr(fold, name) for fold in folds]) for name in ("later_label", "later_day"))
    return feature_worth.worth(label, having, lacking, day)


def worth_of_change(folds: Sequence[Fold], best: LightGBMParams, train: Train) -> Worth:
    """What the best parameters are worth against those of params.yaml, as the mean of several seeds.

    If the same folds have chosen them, that favours them: a worth just beyond noise may be the luck of the search.
    """
    current = LightGBMParams.model_validate(train.of("lightgbm").model_dump())
    having, lacking = (seeded_probabilities(folds, each, train) for each in (best, current))
    return worth_over(folds, having, lacking)
