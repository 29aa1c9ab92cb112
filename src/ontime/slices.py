"""Slices: groups of entities that are scored separately."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from ontime.evaluation import auc_interval, losses, mean_interval
from ontime.params import Evaluate, Params
from ontime.problem import PROBLEM

BANDS = [name for dimension in PROBLEM.slices for name in dimension.bands]
FEATURES = tuple(dict.fromkeys(dimension.feature for dimension in PROBLEM.slices))
UNKNOWN = "unknown"  # the slice of entities without a value
# The dimension within which conformal sets are calibrated. Not the month: a test month has no calibration entities.
GROUP = next((dimension.name for dimension in PROBLEM.slices if dimension.bands), None)


def _band(values: pd.Series, bands: Mapping[str, tuple[float, float]]) -> NDArray[np.object_]:
    """The name of the band of each value, whose upper edge is excluded; "nan" if there is none."""
    edges = [low for low, _ in bands.values()] + [list(bands.values())[-1][1]]
    names = np.array(["nan", *bands, "nan"], dtype=object)
    band: NDArray[np.object_] = names[np.searchsorted(edges, values.to_numpy(np.float64), side="right")]
    return band


def _month(days: pd.Series) -> NDArray[np.object_]:
    codes, unique = pd.factorize(days)
    return pd.DatetimeIndex(unique).strftime("%Y-%m").to_numpy(object)[codes]


def of_entities(features: pd.DataFrame) -> pd.DataFrame:
    """The slice of each entity in each declared dimension, and its month; from its features and its day."""
    dimensions = {
        dimension.name: _band(features[dimension.feature], dimension.bands)
        if dimension.bands
        else features[dimension.feature].fillna(UNKNOWN)
        for dimension in PROBLEM.slices
    }
    return pd.DataFrame({**dimensions, "month": _month(features["day"])})


def groups(dimensions: pd.DataFrame) -> NDArray[np.str_]:
    """The group in which each entity's conformal set is calibrated: a single one if no dimension has bands."""
    return dimensions[GROUP].to_numpy(str) if GROUP else np.full(len(dimensions), "all")


def gated(entities: int, positives: int, params: Evaluate) -> bool:
    """Whether a slice is large enough for the gate; smaller ones are only reported."""
    return entities >= params.slice_min_rows and positives >= params.slice_min_positive


def scores_by_slice(
    label: NDArray[np.bool_],
    probability: NDArray[np.float64],
    days: NDArray[np.datetime64],
    dimensions: pd.DataFrame,
    params: Params,
) -> list[dict[str, Any]]:
    """For each slice: size, AUC, log-loss, mean probability, error rates of the alert, and whether it gates.

    Error rates: the share of positive rows missed, and of negative rows alerted. They and the AUC have intervals by
    days.
    """
    rows = []
    for dimension in dimensions:
        groups = pd.Series(np.arange(len(label))).groupby(dimensions[dimension].to_numpy())
        for name, members in sorted(groups, key=lambda group: order(str(group[0]))):
            figures = _figures(label[members], probability[members], days[members], params.cost.alert_threshold)
            judged = gated(figures["entities"], figures["positives"], params.evaluate)
            rows.append({"dimension": dimension, "slice": str(name), **figures, "gated": judged})
    return rows


def share_with_interval(outcomes: NDArray[np.bool_], days: NDArray[np.datetime64]) -> list[float] | None:
    """The share of True with its 95 % interval by days; without one for a single day, None for no entities."""
    if not len(outcomes):
        return None
    estimate = mean_interval(outcomes.astype(np.float64), days)
    ends = (max(estimate.low, 0.0), min(estimate.high, 1.0)) if estimate else ()
    return [round(float(each), 4) for each in (outcomes.mean(), *ends)]


def _figures(
    label: NDArray[np.bool_], probability: NDArray[np.float64], days: NDArray[np.datetime64], threshold: float
) -> dict[str, Any]:
    """The scores of one slice; None for those that need both labels if only one occurs."""
    both, alert = 0 < label.sum() < len(label), probability >= threshold
    return {
        "entities": len(label),
        "positives": int(label.sum()),
        "auc": round(float(roc_auc_score(label, probability)), 4) if both else None,
        "log_loss": round(float(losses(label, probability).mean()), 4),
        "auc_interval": auc_interval(label, probability, days),
        "mean_probability": round(float(probability.mean()), 4),
        "missed": share_with_interval(~alert[label], days[label]),
        "false_alarms": share_with_interval(alert[~label], days[~label]),
    }


def order(name: str) -> tuple[int, str]:
    """Sort key: bands in their declared order, everything else by name."""
    return (BANDS.index(name) if name in BANDS else -1, name)
