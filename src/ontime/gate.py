"""May the challenger replace the champion? Both are scored on the same flights, which neither was trained on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import evaluation, slices
from ontime.params import Evaluate, Gate

Floats = NDArray[np.float64]


class GateBroken(ValueError):
    """The comparison itself would be worthless; the message says why."""


@dataclass(frozen=True)
class Verdict:
    """Differences are challenger less champion in log-loss: below zero is better."""

    promote: bool
    reason: str
    difference: float
    low: float
    high: float
    flights: int
    days: int
    worse_slices: Sequence[str]

    def evidence(self) -> dict[str, Any]:
        return asdict(self)


def refuse_seen_flights(name: str, trained_until: date, judged_from: date) -> None:
    """Raise GateBroken for a model that was trained on what it is to be judged by."""
    if trained_until > judged_from:
        raise GateBroken(f"{name} was trained until {trained_until}, so it has seen flights of {judged_from}")


def decide(
    flights: pd.DataFrame,
    challenger: Floats,
    champion: Floats,
    gate: Gate,
    evaluate: Evaluate,
    *,
    refresh: bool = False,
) -> Verdict:
    """The verdict of the paired difference by days, and of every slice that is large enough.

    `flights` has `late`, `day` and the features that slices need. With `refresh` the challenger need not be
    better, only not worse than the margin: the policy wants a newer model.
    """
    late = flights["late"].to_numpy(bool)
    difference = evaluation.losses(late, challenger) - evaluation.losses(late, champion)
    estimate = evaluation.mean_interval(difference, flights["day"].to_numpy())
    if estimate is None:
        raise GateBroken(f"{len(flights):,} flights of one day: an interval by days needs at least two")
    low, high = estimate.interval
    worse = _worse_slices(slices.of_flights(flights), late, difference, gate, evaluate)
    limit = gate.margin_log_loss if refresh else 0.0
    promote = high < limit and not worse
    return Verdict(
        promote=promote,
        reason=_reason(high, limit, worse),
        difference=round(float(difference.mean()), 4),
        low=low,
        high=high,
        flights=len(flights),
        days=estimate.days,
        worse_slices=worse,
    )


def _worse_slices(
    cuts: pd.DataFrame, late: NDArray[np.bool_], difference: Floats, gate: Gate, evaluate: Evaluate
) -> list[str]:
    worse = []
    for cut in cuts:
        table = pd.DataFrame({"late": late, "difference": difference}).groupby(cuts[cut].to_numpy())
        for name, rows in table:
            judged = slices.gated(len(rows), int(rows["late"].sum()), evaluate)
            if judged and rows["difference"].mean() > gate.margin_slice_log_loss:
                worse.append(f"{cut} {name}: {rows['difference'].mean():+.4f}")
    return worse


def _reason(high: float, limit: float, worse: Sequence[str]) -> str:
    if worse:
        return f"slices get worse: {'; '.join(worse)}"
    if high < limit:
        return f"the interval of the log-loss difference ends at {high:+.4f}, below {limit:+.4f}"
    return f"the interval of the log-loss difference reaches {high:+.4f}, not below {limit:+.4f}"
