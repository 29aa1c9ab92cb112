"""Groups of flights whose scores are watched one by one: service equity, not protected people."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from ontime.evaluation import auc_interval, losses, mean_interval
from ontime.params import Evaluate, Params

HOURS = {"before 09:00": (0, 9), "09:00-13:59": (9, 14), "14:00-17:59": (14, 18), "18:00 and later": (18, 24)}
MILES = {
    "under 500 mi": (0, 500),
    "500-999 mi": (500, 1000),
    "1000-1999 mi": (1000, 2000),
    "2000 mi and more": (2000, 10**5),
}


def _band(values: pd.Series, bands: Mapping[str, tuple[int, int]]) -> NDArray[np.object_]:
    """The name of the band that holds each value, its upper edge excluded; "nan" where none does."""
    edges = [low for low, _ in bands.values()] + [list(bands.values())[-1][1]]
    names = np.array(["nan", *bands, "nan"], dtype=object)
    band: NDArray[np.object_] = names[np.searchsorted(edges, values.to_numpy(np.float64), side="right")]
    return band


def _month(days: pd.Series) -> NDArray[np.object_]:
    codes, unique = pd.factorize(days)
    return pd.DatetimeIndex(unique).strftime("%Y-%m").to_numpy(object)[codes]


def of_flights(features: pd.DataFrame) -> pd.DataFrame:
    """The slice of each flight in each of the five ways to cut."""
    return pd.DataFrame(
        {
            "origin": features["origin"],
            "carrier": features["carrier"],
            "hour": _band(features["departure_minute"] / 60, HOURS),
            "distance": _band(features["distance_miles"], MILES),
            "month": _month(features["day"]),
        }
    )


def gated(flights: int, late: int, params: Evaluate) -> bool:
    """Whether a slice is large enough to decide anything by; smaller ones are only reported."""
    return flights >= params.slice_min_flights and late >= params.slice_min_late


def report(
    late: NDArray[np.bool_],
    probability: NDArray[np.float64],
    days: NDArray[np.datetime64],
    cuts: pd.DataFrame,
    params: Params,
) -> list[dict[str, Any]]:
    """For each slice: flights, late, AUC, log-loss, mean probability, the alert's two errors, and if it gates.

    The errors: the share of late flights missed, and of on-time ones alerted. They and the AUC have intervals by days.
    """
    rows = []
    for cut in cuts:
        groups = pd.Series(np.arange(len(late))).groupby(cuts[cut].to_numpy())
        for name, members in sorted(groups, key=lambda group: order(str(group[0]))):
            figures = _figures(late[members], probability[members], days[members], params.cost.alert_threshold)
            judged = gated(figures["flights"], figures["late"], params.evaluate)
            rows.append({"cut": cut, "slice": str(name), **figures, "gated": judged})
    return rows


def share(held: NDArray[np.bool_], days: NDArray[np.datetime64]) -> list[float] | None:
    """How often something held, and its 95 % interval by days; the share alone for a single day, None of no flight."""
    if not len(held):
        return None
    estimate = mean_interval(held.astype(np.float64), days)
    ends = (max(estimate.low, 0.0), min(estimate.high, 1.0)) if estimate else ()
    return [round(float(each), 4) for each in (held.mean(), *ends)]


def _figures(
    late: NDArray[np.bool_], probability: NDArray[np.float64], days: NDArray[np.datetime64], threshold: float
) -> dict[str, Any]:
    """The scores of one slice; None where there is nothing to score."""
    both, alert = 0 < late.sum() < len(late), probability >= threshold
    return {
        "flights": len(late),
        "late": int(late.sum()),
        "auc": round(float(roc_auc_score(late, probability)), 4) if both else None,
        "log_loss": round(float(losses(late, probability).mean()), 4),
        "auc_interval": auc_interval(late, probability, days),
        "mean_probability": round(float(probability.mean()), 4),
        "missed": share(~alert[late], days[late]),
        "false_alarms": share(alert[~late], days[~late]),
    }


def order(name: str) -> tuple[int, str]:
    """Bands in their own order, everything else by name."""
    bands = [*HOURS, *MILES]
    return (bands.index(name) if name in bands else -1, name)
