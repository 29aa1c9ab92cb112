"""Groups of entities whose scores are watched one by one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from ontime.evaluation import auc_interval, losses, mean_interval
from ontime.params import Evaluate, Params
from ontime.problem import PROBLEM

BANDS = [name for cut in PROBLEM.slices for name in cut.bands]
UNKNOWN = "unknown"  # the slice of those without a value
# Within which conformal sets are calibrated. Never the month: one of the test period has nothing that calibrates it.
GROUP = next((cut.name for cut in PROBLEM.slices if cut.bands), None)


def _band(values: pd.Series, bands: Mapping[str, tuple[float, float]]) -> NDArray[np.object_]:
    """The name of the band that holds each value, its upper edge excluded; "nan" where none does."""
    edges = [low for low, _ in bands.values()] + [list(bands.values())[-1][1]]
    names = np.array(["nan", *bands, "nan"], dtype=object)
    band: NDArray[np.object_] = names[np.searchsorted(edges, values.to_numpy(np.float64), side="right")]
    return band


def _month(days: pd.Series) -> NDArray[np.object_]:
    codes, unique = pd.factorize(days)
    return pd.DatetimeIndex(unique).strftime("%Y-%m").to_numpy(object)[codes]


def of_entities(features: pd.DataFrame) -> pd.DataFrame:
    """The slice of each entity in each of the declared ways to cut, and its month; from its features and its day."""
    cuts = {
        cut.name: _band(features[cut.feature], cut.bands) if cut.bands else features[cut.feature].fillna(UNKNOWN)
        for cut in PROBLEM.slices
    }
    return pd.DataFrame({**cuts, "month": _month(features["day"])})


def groups(cuts: pd.DataFrame) -> NDArray[np.str_]:
    """The group of each entity within which its conformal set is calibrated: one for all where no slice has bands."""
    return cuts[GROUP].to_numpy(str) if GROUP else np.full(len(cuts), "all")


def gated(entities: int, positives: int, params: Evaluate) -> bool:
    """Whether a slice is large enough to decide anything by; smaller ones are only reported."""
    return entities >= params.slice_min_rows and positives >= params.slice_min_positive


def report(
    label: NDArray[np.bool_],
    probability: NDArray[np.float64],
    days: NDArray[np.datetime64],
    cuts: pd.DataFrame,
    params: Params,
) -> list[dict[str, Any]]:
    """For each slice: entities, positives, AUC, log-loss, mean probability, the alert's two errors, and if it gates.

    The errors: the share of positive rows missed, and of negative ones alerted. They and the AUC have intervals by
    days.
    """
    rows = []
    for cut in cuts:
        groups = pd.Series(np.arange(len(label))).groupby(cuts[cut].to_numpy())
        for name, members in sorted(groups, key=lambda group: order(str(group[0]))):
            figures = _figures(label[members], probability[members], days[members], params.cost.alert_threshold)
            judged = gated(figures["entities"], figures["positives"], params.evaluate)
            rows.append({"cut": cut, "slice": str(name), **figures, "gated": judged})
    return rows


def share(held: NDArray[np.bool_], days: NDArray[np.datetime64]) -> list[float] | None:
    """How often something held, and its 95 % interval by days; the share alone for a single day, None of no entity."""
    if not len(held):
        return None
    estimate = mean_interval(held.astype(np.float64), days)
    ends = (max(estimate.low, 0.0), min(estimate.high, 1.0)) if estimate else ()
    return [round(float(each), 4) for each in (held.mean(), *ends)]


def _figures(
    label: NDArray[np.bool_], probability: NDArray[np.float64], days: NDArray[np.datetime64], threshold: float
) -> dict[str, Any]:
    """The scores of one slice; None where there is nothing to score."""
    both, alert = 0 < label.sum() < len(label), probability >= threshold
    return {
        "entities": len(label),
        "positives": int(label.sum()),
        "auc": round(float(roc_auc_score(label, probability)), 4) if both else None,
        "log_loss": round(float(losses(label, probability).mean()), 4),
        "auc_interval": auc_interval(label, probability, days),
        "mean_probability": round(float(probability.mean()), 4),
        "missed": share(~alert[label], days[label]),
        "false_alarms": share(alert[~label], days[~label]),
    }


def order(name: str) -> tuple[int, str]:
    """Bands in their own order, everything else by name."""
    return (BANDS.index(name) if name in BANDS else -1, name)
