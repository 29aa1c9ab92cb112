"""Target leak checks: on features before a model is fitted, and on the gain of its splits afterwards."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import TargetEncoder

from ontime import schema
from ontime.params import Leaks
from ontime.refusal import Refusal

REGRESSION_ROWS = 50_000
AUC_ROWS = 20_000  # the standard error of the AUC of this many rows is below 0.01
QUANTILE_GROUPS = 20  # of a numeric feature
MIN_VALUES = 1_000  # fewer non-missing values give no reliable AUC
FOLDS = 5


class LeakFound(Refusal):
    """One feature, or several together, reveal the label; the message names them."""


class TrainingSample:
    """The rows of the training period that `refuse` and `refuse_predictive` look at, gathered table by table.

    `rows`: of all tables together. The sample is the one that these functions would draw from the whole period.
    """

    def __init__(self, rows: int) -> None:
        self._steps = [max(1, rows // most) for most in (REGRESSION_ROWS, AUC_ROWS)]
        self._parts: list[list[pd.DataFrame]] = [[], []]
        self._seen = 0

    def add(self, table: pd.DataFrame) -> None:
        for step, parts in zip(self._steps, self._parts, strict=True):
            parts.append(table.iloc[-self._seen % step :: step].copy())  # a view would keep the whole table
        self._seen += len(table)

    def refuse(self, limits: Leaks) -> None:
        """Raise LeakFound if features reveal the label, together or alone."""
        many, few = (pd.concat(parts, ignore_index=True) for parts in self._parts)
        refuse(many, many[["label", "value"]], limits)
        refuse_predictive(few, few["label"], limits)


def refuse(features: pd.DataFrame, outcomes: pd.DataFrame, limits: Leaks) -> None:
    """Raise LeakFound if features explain more than `limits.explained` of any column of `outcomes` (label, value).

    Features in `limits.accepted` are left out. See `explained_variance`.
    """
    for name, (share, culprits) in explained_variance(features, outcomes, limits.accepted).items():
        if share > limits.explained:
            raise LeakFound(
                f"features explain {share:.1%} of {name}; look at {', '.join(culprits)}: the limit is "
                f"leaks.explained {limits.explained:g}. If they are legitimate, add them to leaks.accepted in "
                "params.yaml"
            )


def explained_variance(
    features: pd.DataFrame, outcomes: pd.DataFrame, accepted: Sequence[str] = ()
) -> dict[str, tuple[float, list[str]]]:
    """The R² of a linear regression of each outcome on all numeric features, and the three features of largest weight.

    Both tables have the same rows; `outcomes` has no nulls. Missing features are imputed with their mean.
    """
    numeric = [name for name in schema.FEATURE_NAMES if name not in {*schema.CATEGORICAL, *accepted}]
    step = max(1, len(features) // REGRESSION_ROWS)
    sample = features[numeric].iloc[::step]
    spread = sample.std().replace(0, np.nan)
    scaled = ((sample - sample.mean()) / spread).fillna(0).to_numpy(np.float64)
    explained = {}
    for name in outcomes:
        values = outcomes[name].iloc[::step].to_numpy(np.float64)
        centred = values - values.mean()
        weights = np.linalg.lstsq(scaled, centred, rcond=None)[0]
        share = float(1 - np.var(centred - scaled @ weights) / np.var(centred))
        explained[str(name)] = share, [numeric[i] for i in np.argsort(-np.abs(weights))[:3]]
    return explained


def refuse_predictive(features: pd.DataFrame, label: pd.Series, limits: Leaks) -> None:
    """Raise LeakFound if a feature that is not accepted has, alone, a higher AUC than `limits.feature_auc`."""
    aucs = single_feature_aucs(features[list(schema.FEATURE_NAMES)], label.to_numpy(bool))
    _refuse(aucs, limits.feature_auc, limits.accepted, "leaks.feature_auc", "alone has AUC {:.3f}")


def refuse_dominant(gain: Sequence[float], limits: Leaks) -> None:
    """Raise LeakFound if a feature that is not accepted has more than `limits.gain_share` of a model's gain.

    `gain` is the total gain of the model's splits on each feature, in the order of `schema.FEATURE_NAMES`.
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
            f"{name} {what.format(figure)}, above {parameter} {limit:g}: it may know the outcome. Check its sources "
            f"and when they are known. If it is legitimate, add {name} to leaks.accepted in params.yaml"
        )


def single_feature_aucs(features: pd.DataFrame, label: np.ndarray) -> dict[str, float]:
    """The AUC of each feature alone: the larger of two.

    One ranks by the non-missing values, ascending or descending. The other ranks by the label share of each category,
    or of twenty quantile groups and the missing values, cross-fitted by scikit-learn's TargetEncoder: it also detects
    relations that are not monotonic.
    """
    step = max(1, len(features) // AUC_ROWS)
    sample, label = features.iloc[::step], label[::step]
    groups = np.column_stack([_groups(sample[name]) for name in sample])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    shares = TargetEncoder(target_type="binary", cv=folds).fit_transform(groups, label)
    return {
        str(name): max(_auc(label, shares[:, place]), _ranked(sample[name], label)) for place, name in enumerate(sample)
    }


def _groups(values: pd.Series) -> np.ndarray:
    if not pd.api.types.is_numeric_dtype(values):
        return pd.factorize(values)[0]
    # By rank instead of quantiles: with those, two frequent values may fall into one group.
    return (values.rank(pct=True) * QUANTILE_GROUPS // 1).fillna(-1).to_numpy(int)


def _ranked(values: pd.Series, label: np.ndarray) -> float:
    has_value = values.notna().to_numpy()
    if not pd.api.types.is_numeric_dtype(values) or has_value.sum() < MIN_VALUES or len(set(label[has_value])) < 2:
        return 0.5
    auc = _auc(label[has_value], values[has_value].to_numpy())
    return max(auc, 1 - auc)


def _auc(label: np.ndarray, score: np.ndarray) -> float:
    """As `roc_auc_score`, without its checks, for hundreds of calls: the Mann-Whitney U statistic over all pairs."""
    positives = int(label.sum())
    ranks_above_lowest = rankdata(score)[label].sum() - positives * (positives + 1) / 2
    return float(ranks_above_lowest / (positives * (len(label) - positives)))
