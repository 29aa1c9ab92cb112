"""Features that know too much: refused before a model is fitted on them, or by what it made of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import TargetEncoder

from ontime import schema
from ontime.params import Leaks
from ontime.refusal import Refusal

SAMPLE_ROWS = 50_000
ALONE_ROWS = 20_000  # an AUC of so many rows is off by less than 0.01
GROUPS = 20  # of about equal size, into which the values of a number are put
KNOWN_ROWS = 1_000  # fewer values that are known say nothing for sure
FOLDS = 5


class LeakFound(Refusal):
    """A feature, or several together, tell the label. Names them."""


def refuse(features: pd.DataFrame, outcomes: pd.DataFrame, limits: Leaks) -> None:
    """Raise LeakFound if features explain more than `limits.explained` of any column of `outcomes` (label, value).

    Those that somebody has accepted are left out. See `explained`.
    """
    for name, (share, culprits) in explained(features, outcomes, limits.accepted).items():
        if share > limits.explained:
            raise LeakFound(
                f"features explain {share:.1%} of {name}; look at {', '.join(culprits)}: the limit is "
                f"leaks.explained {limits.explained:g}. If they are honest, add them to leaks.accepted in params.yaml"
            )


def explained(
    features: pd.DataFrame, outcomes: pd.DataFrame, accepted: Sequence[str] = ()
) -> dict[str, tuple[float, list[str]]]:
    """The share of each outcome's variance that a sum of all numeric features explains, and the three that weigh most.

    Least squares. Rows in the same order, without nulls in `outcomes`. Missing features count as their mean.
    """
    numeric = [name for name in schema.FEATURE_NAMES if name not in {*schema.CATEGORICAL, *accepted}]
    step = max(1, len(features) // SAMPLE_ROWS)
    sample = features[numeric].iloc[::step]
    spread = sample.std().replace(0, np.nan)
    scaled = ((sample - sample.mean()) / spread).fillna(0).to_numpy(np.float64)
    found = {}
    for name in outcomes:
        values = outcomes[name].iloc[::step].to_numpy(np.float64)
        centred = values - values.mean()
        weights = np.linalg.lstsq(scaled, centred, rcond=None)[0]
        share = float(1 - np.var(centred - scaled @ weights) / np.var(centred))
        found[str(name)] = share, [numeric[i] for i in np.argsort(-np.abs(weights))[:3]]
    return found


def refuse_telling(features: pd.DataFrame, label: pd.Series, limits: Leaks) -> None:
    """Raise LeakFound if one feature alone has a higher AUC than `limits.feature_auc`, and nobody has accepted it."""
    alone = auc_alone(features[list(schema.FEATURE_NAMES)], label.to_numpy(bool))
    _refuse(alone, limits.feature_auc, limits.accepted, "leaks.feature_auc", "alone has AUC {:.3f}")


def refuse_dominant(gain: Sequence[float], limits: Leaks) -> None:
    """Raise LeakFound if one feature has more than `limits.gain_share` of a model's gain, and nobody has accepted it.

    `gain` is what the model's splits on each feature have gained, in the order of `schema.FEATURE_NAMES`.
    """
    total = sum(gain) or 1.0  # a model without a split
    shares = {name: each / total for name, each in zip(schema.FEATURE_NAMES, gain, strict=True)}
    _refuse(shares, limits.gain_share, limits.accepted, "leaks.gain_share", "has {:.1%} of the model's gain")


def _refuse(figures: Mapping[str, float], limit: float, accepted: Sequence[str], parameter: str, what: str) -> None:
    name, figure = max(
        ((name, figure) for name, figure in figures.items() if name not in accepted), key=lambda each: each[1]
    )
    if figure > limit:
        raise LeakFound(
            f"{name} {what.format(figure)}, above {parameter} {limit:g}: it may know the outcome. Look at what it is "
            f"made of and when that is known. If it is honest, add {name} to leaks.accepted in params.yaml"
        )


def auc_alone(features: pd.DataFrame, label: np.ndarray) -> dict[str, float]:
    """How well each feature alone tells positive rows from the others: the larger of two AUCs.

    One ranks the values as they are, or the other way round, where they are known. The other ranks the label share of
    each category, or of twenty groups of values and the missing ones, as the other folds have it (scikit-learn's
    TargetEncoder): so it also sees what does not rise or fall steadily.
    """
    step = max(1, len(features) // ALONE_ROWS)
    sample, label = features.iloc[::step], label[::step]
    groups = np.column_stack([_groups(sample[name]) for name in sample])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    shares = TargetEncoder(target_type="binary", cv=folds).fit_transform(groups, label)
    return {
        str(name): max(float(roc_auc_score(label, shares[:, place])), _ranked(sample[name], label))
        for place, name in enumerate(sample)
    }


def _groups(values: pd.Series) -> np.ndarray:
    if not pd.api.types.is_numeric_dtype(values):
        return pd.factorize(values)[0]
    # By rank, and not by quantiles, among which two frequent values may share a group.
    return (values.rank(pct=True) * GROUPS // 1).fillna(-1).to_numpy(int)


def _ranked(values: pd.Series, label: np.ndarray) -> float:
    known = values.notna().to_numpy()
    if not pd.api.types.is_numeric_dtype(values) or known.sum() < KNOWN_ROWS or len(set(label[known])) < 2:
        return 0.5
    auc = float(roc_auc_score(label[known], values[known]))
    return max(auc, 1 - auc)
