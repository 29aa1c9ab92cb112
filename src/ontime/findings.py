"""The titles of plots: one sentence that states the result, derived from the numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime.schema import WORDS

Floats = NDArray[np.floating[Any]]

NEAR_HIGHEST = 0.9  # from this share of the highest value on, values are named together with it
SIMILAR = 0.02  # shares that differ by less are called similar
MONOTONIC = 0.8  # rank correlation from which on a series is called rising or falling
CALIBRATED = 0.02  # calibration error up to which probabilities are called right
NEAR_CHEAPEST = 1.01  # times the lowest cost: called near the cheapest
DAYS = {
    name[:3]: name for name in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
}  # fmt: skip
SHIFTED = 0.25  # of the population stability index; Siddiqi, Credit Risk Scorecards


def percent(share: float, digits: int = 1) -> str:
    """
    >>> percent(0.336).replace(chr(160), " ")
    '33.6 %'
    """
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def listed(names: Sequence[str]) -> str:
    """
    >>> listed(["June", "July", "December"])
    'June, July and December'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def month_names(months: Sequence[str]) -> list[str]:
    """Month names, without the year if it is the same for all.

    >>> month_names(["2013-01", "2013-12"]), month_names(["2013-12", "2014-01"])
    (['January', 'December'], ['December 2013', 'January 2014'])
    """
    periods = [pd.Period(month, "M") for month in months]
    form = "%B" if len({period.year for period in periods}) == 1 else "%B %Y"
    return [period.strftime(form) for period in periods]


def highest(rates: pd.Series) -> "pd.Series[bool]":
    """Which shares are the highest or close to it."""
    return rates >= NEAR_HIGHEST * rates.max()


def rate_by_month(rates: pd.Series) -> str:
    names = month_names([str(month) for month in rates.index])
    if len(rates) == 1:
        return f"{percent(rates.iloc[0])} of the {WORDS.entities} of {names[0]} were {WORDS.positive}"
    low, high = float(rates.min()), float(rates.max())
    if high - low < SIMILAR:
        return f"Months differ little: {percent(low)} to {percent(high)} {WORDS.positive}"
    worst = [name for name, chosen in zip(names, highest(rates), strict=True) if chosen]
    best = names[int(rates.to_numpy().argmin())]
    if len(worst) > 3:
        many = f"{len(worst)} of {len(names)} months are close to the highest"
        return f"{many}, {percent(high)} {WORDS.positive}; {best} has {percent(low)}"
    few = "have the most: up to" if len(worst) > 1 else "has the most:"
    return f"{listed(worst)} {few} {percent(high)} {WORDS.positive}, against {percent(low)} in {best}"


def rate_by_hour(rates: pd.Series) -> str:
    if len(rates) == 1:
        return f"{percent(rates.iloc[0])} of the {WORDS.entities} at {rates.index[0]}:00 were {WORDS.positive}"
    ends = (
        f"{percent(float(rates.min()))} {WORDS.positive} at {rates.idxmin()}:00, "
        f"{percent(float(rates.max()))} at {rates.idxmax()}:00"
    )
    if rates.max() - rates.min() < SIMILAR:
        return f"Hours differ little: {ends}"
    trend = _rank_correlation(rates)
    if trend > MONOTONIC:
        return f"The share rises over the day: {ends}"
    return f"The share falls over the day: {ends}" if trend < -MONOTONIC else f"Hours differ: {ends}"


def _rank_correlation(values: pd.Series) -> float:
    return float(np.corrcoef(np.arange(len(values)), values.rank())[0, 1])


def rate_by_hour_and_weekday(rates: pd.DataFrame) -> str:
    """`rates`: weekdays in rows, hours in columns."""
    cells = {(day, hour): rates.loc[day, hour] for day in rates.index for hour in rates.columns}
    values = {cell: float(rate) for cell, rate in cells.items() if not pd.isna(rate)}
    worst, best = max(values, key=lambda cell: values[cell]), min(values, key=lambda cell: values[cell])
    names = [f"{DAYS.get(str(day), day)} at {hour}:00" for day, hour in (worst, best)]
    highest = f"{names[0]} has the highest share of the week: {percent(values[worst], 0)} {WORDS.positive}"
    return f"{highest}; {names[1]} has {percent(values[best], 0)}"


def missing(shares: pd.Series) -> str:
    ordered = shares.sort_values(ascending=False)
    first = f"{ordered.index[0]} is missing most often, in {percent(ordered.iloc[0])} of its rows"
    return f"{first}; the next, {ordered.index[1]}, in {percent(ordered.iloc[1])}" if len(ordered) > 1 else first


def drift(indices: pd.DataFrame) -> str:
    """`indices`: columns of the data in rows, months in columns."""
    highest = indices.max(axis=1)
    shifted, most = int((highest > SHIFTED).sum()), str(highest.idxmax())
    if not shifted:
        return f"No column drifts: the highest index is {highest.max():.2f}, of {most}"
    month = month_names([str(indices.loc[most].idxmax())])[0]
    rest = f"{shifted} of {len(indices)} columns exceed {SHIFTED:g} in some month"
    return f"{most} drifts most, to {highest.max():.2f} in {month}; {rest}"


def best_of(scores: Mapping[str, float], best: str, figure: str) -> str:
    """The candidate with the highest score, and the score of the best one on validation."""
    highest = max(scores.values())
    level = [name for name, score in scores.items() if f"{score:.3f}" == f"{highest:.3f}"]
    if best in level and len(level) > 1:
        return f"{listed(level)} have the highest {figure}, {highest:.3f}"
    leader = max(scores, key=lambda name: scores[name])
    if scores[best] >= scores[leader]:
        others = {name: score for name, score in scores.items() if name != best}
        if not others:
            return f"{best} has {figure} {scores[best]:.3f}"
        second = max(others, key=lambda name: others[name])
        return f"{best} has the highest {figure}, {scores[best]:.3f}; {second} follows with {others[second]:.3f}"
    return (
        f"{leader} has the highest {figure}, {scores[leader]:.3f}; {best}, the best on validation, has "
        f"{scores[best]:.3f}"
    )


def precision_at_half(recall: Floats, precision: Floats, positive_rate: float, best: str) -> str:
    at_half = float(precision[np.abs(recall - 0.5).argmin()])
    return (
        f"At a recall of 50 %, {percent(at_half, 0)} of the alerts of {best} are right; "
        f"of random alerts, {percent(positive_rate, 0)}"
    )


def reliability(predicted: Floats, observed: Floats, entities: NDArray[np.integer[Any]], best: str) -> str:
    distance = float(np.average(np.abs(predicted - observed), weights=entities))
    bias = float(np.average(predicted - observed, weights=entities))
    if distance <= CALIBRATED:
        return f"The probabilities of {best} are right: off by {100 * distance:.1f} points on average"
    direction = "too high" if bias > 0 else "too low"
    return (
        f"The probabilities of {best} are off by {100 * distance:.1f} points on average, "
        f"and {100 * abs(bias):.1f} points {direction} overall"
    )


def threshold(thresholds: Floats, cost: Floats, chosen: float, no_alert_cost: float) -> str:
    """Whether the cost is lowest at the chosen threshold."""
    chosen_cost, lowest = float(np.interp(chosen, thresholds, cost)), float(cost.min())
    cheapest = float(thresholds[int(cost.argmin())])
    alerting = f"Alerting from {percent(chosen, 0)}"
    if chosen_cost > no_alert_cost:
        return f"{alerting} costs {chosen_cost:.0f}, more than never alerting ({no_alert_cost:.0f})"
    if chosen_cost > NEAR_CHEAPEST * lowest:
        now = f"from {percent(chosen, 0)} it costs {chosen_cost:.0f}"
        return f"Alerting from {percent(cheapest, 0)} would cost {lowest:.0f}; {now}"
    if chosen_cost > lowest + 1e-9:
        near = f"costs {chosen_cost:.0f}, within {percent(NEAR_CHEAPEST - 1, 0)} of the cheapest threshold"
        return f"{alerting} {near}; never alerting costs {no_alert_cost:.0f}"
    return f"{alerting} is cheapest and costs {chosen_cost:.0f}; never alerting costs {no_alert_cost:.0f}"


def quality_against_latency(rows: Sequence[tuple[str, float, float, int]]) -> str:
    """rows: (name, microseconds per row, log-loss, bytes)."""
    best, fastest = min(rows, key=lambda row: row[2]), min(rows, key=lambda row: row[1])
    first = f"{best[0]} predicts best, with log-loss {best[2]:.3f} at {best[1]:.2g} µs per row"
    if fastest == best:
        return f"{first}, and is the fastest" if len(rows) > 1 else first.replace("predicts best, with", "has")
    return f"{first}; the fastest, {fastest[0]}, has {fastest[2]:.3f} at {fastest[1]:.2g} µs"


def importance(names: Sequence[str], means: Sequence[float]) -> str:
    first = f"Shuffling {names[0]} increases the log-loss most, by {means[0]:.4f}"
    return f"{first}; {names[1]} follows with {means[1]:.4f}" if len(names) > 1 else first


def slices(rows: Sequence[tuple[str, str, float, Sequence[float] | None, int]], overall: float) -> str:
    """rows: (dimension, slice, AUC, its interval or None, entities)."""
    with_interval = [row for row in rows if row[3] is not None]
    if not with_interval:
        return f"AUC {overall:.3f} over all; no slice has enough days for an interval"
    worst, best = min(with_interval, key=lambda row: row[2]), max(with_interval, key=lambda row: row[2])
    if len(with_interval) == 1:
        return f"{worst[0]} {worst[1]} has AUC {worst[2]:.3f}"
    below = sum(interval is not None and interval[1] < overall for _, _, _, interval, _ in with_interval)
    intervals = {0: "no interval lies", 1: "1 interval lies"}.get(below, f"{below} intervals lie")
    return (
        f"Weakest for {worst[0]} {worst[1]} (AUC {worst[2]:.3f}), strongest for {best[0]} {best[1]} ({best[2]:.3f}); "
        f"{intervals} entirely below the overall AUC"
    )


def serving(servers: Mapping[str, Mapping[int, tuple[float, float]]], labels: Mapping[str, str], ours: str) -> str:
    """Server -> connections -> (requests per second, p99 in milliseconds); compares at the most connections of all."""
    busy = max(set.intersection(*(set(loads) for loads in servers.values())))
    rates, latencies = ({name: loads[busy][place] for name, loads in servers.items()} for place in (0, 1))
    rate_rank = _rank(rates, ours, "the fastest")
    p99_rank = _rank({name: -latency for name, latency in latencies.items()}, ours, "first")
    return (
        f"With {busy} connection{'s' * (busy > 1)}, {labels[ours]} is {rate_rank} with {rates[ours]:,.0f} requests/s, "
        f"and {p99_rank} by p99, {latencies[ours]:.3g} ms"
    )


def _rank(values: Mapping[str, float], name: str, first: str) -> str:
    place = sum(value > values[name] for value in values.values())
    return first if place == 0 else f"number {place + 1} of {len(values)}"


def gate_power(better: Sequence[Mapping[str, Any]]) -> str:
    """rows: days, difference, promoted."""
    fewest, most = min(row["days"] for row in better), max(row["days"] for row in better)
    largest = max(row["difference"] for row in better)
    shares = {row["days"]: row["promoted"] for row in better if row["difference"] == largest}
    return (
        f"A model that is better by {largest:g} is promoted in {percent(shares[most], 0)} of trials with {most} days, "
        f"in {percent(shares[fewest], 0)} with {fewest}"
    )


def retraining(months: Sequence[Mapping[str, Any]], figure: str, digits: int) -> str:
    """The gain or loss of the retrained system against the first model, in the mean of the months."""
    retrained, never_retrained = (
        float(np.mean([month[name][figure] for month in months])) for name in ("retrained", "never_retrained")
    )
    names = {"auc": "the AUC", "cost_per_1000": f"the cost per 1,000 {WORDS.entities}"}
    span = "" if len(months) == 1 else "mean monthly "
    what = names[figure].replace("the ", f"the {span}", 1)
    now, before = f"{retrained:.{digits}f}", f"{never_retrained:.{digits}f}"
    if now == before:
        return f"Retraining leaves {what} at {now}"
    verb = "raises" if retrained > never_retrained else "lowers"
    return f"Retraining {verb} {what} from {before} to {now}"


def timeline(events: Sequence[Mapping[str, Any]], start: str, days: int) -> str:
    """The gate's verdicts on the retrained models; events before the first day concern the first model."""
    replayed = [event for event in events if event["day"] >= start]
    verdicts = [event["verdict"] for event in replayed if event["kind"] == "gate"]
    promoted, rejected = verdicts.count("promote"), verdicts.count("reject")
    back = sum(event["kind"] == "rollback" for event in replayed)
    rollbacks = "none was rolled back" if not back else f"{back} {'was' if back == 1 else 'were'} rolled back"
    if not promoted + rejected:
        return f"No retraining in {days} days" + (f"; {rollbacks}" if back else "")
    return f"The gate promoted {promoted} of {promoted + rejected} retrained models; {rollbacks}"


def loss(measured: float, expected: float) -> str:
    gap = measured - expected
    if f"{abs(gap):.3f}" == "0.000":
        return f"Log-loss {measured:.3f}, equal to the expectation of exactly right probabilities"
    side = "above" if gap > 0 else "below"
    return f"Log-loss {measured:.3f}: {abs(gap):.3f} {side} the expectation of exactly right probabilities"


def predicted(observed: float, predicted: float) -> str:
    gap = 100 * (predicted - observed)
    direction = "too many" if gap > 0 else "too few"
    return (
        f"{percent(predicted)} predicted {WORDS.positive}, {percent(observed)} were: {abs(gap):.1f} points {direction}"
    )


def causes(rows: Sequence[tuple[str, Sequence[float], bool]]) -> str:
    """rows: (name, (cost, low, high), whether it stands out), the most costly first.

    >>> causes([("weather", (0.03, 0.01, 0.05), True), ("hour 9 to 12", (0.02, 0.01, 0.03), True)])
    'First suspect: weather, which costs 0.030 of log-loss; the next, hour 9 to 12, 0.020'
    """
    suspects = [(name, cost[0]) for name, cost, stands_out in rows if stands_out]
    if not suspects:
        return f"Nothing stands out; the largest cost, of {rows[0][0]}, is {rows[0][1][0]:.3f} of log-loss"
    first = f"First suspect: {suspects[0][0]}, which costs {suspects[0][1]:.3f} of log-loss"
    return f"{first}; the next, {suspects[1][0]}, {suspects[1][1]:.3f}" if len(suspects) > 1 else first


def parts_of_change(rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """rows: (name, (change, low, high)) of the log-loss; the first is the total."""
    total, low, high = rows[0][1]
    name, (most, *_) = max(rows[1:], key=lambda row: abs(row[1][0]))
    direction = "rose" if total > 0 else "fell"
    sure = "" if low > 0 or high < 0 else ", which is within chance"
    return f"The log-loss {direction} by {abs(total):.3f}{sure}; the largest part is {name}, {most:+.3f}"


def kinds_of_days(kinds: pd.DataFrame) -> str:
    """`kinds`: names in the index, with `days` and `share` of positive entities, NaN without labels."""
    shares = kinds["share"].dropna()
    most, least = str(shares.idxmax()), str(shares.idxmin())
    count = f"{int(kinds['days'][most])} of {kinds['days'].sum()} days had {most}"
    return f"{count}: {percent(shares[most])} {WORDS.positive}, against {percent(shares[least])} on days with {least}"
