"""The model card's sections about who bears the alert's errors, and about how sure a single answer is."""

from collections.abc import Mapping, Sequence
from typing import Any

from ontime.conformal import CONFIDENCE
from ontime.markdown import table
from ontime.params import Cost

Row = Mapping[str, Any]


def errors_by_slice(slices: Sequence[Row], equalised: Sequence[Row], cost: Cost) -> str:
    """Both errors of the alert in each slice that is large enough to judge; what making them equal costs, if measured."""
    judged = [row for row in slices if row["gated"]]
    header = ("cut by", "slice", "late", "predicted", "late flights missed", "on-time flights alerted")
    rows = [
        (row["cut"], row["slice"], _percent(_late(row)), _percent(row["mean_probability"]),
         _share(row["missed"]), _share(row["false_alarms"]))
        for row in judged
    ]  # fmt: skip
    return f"""### Errors of the alert by slice

{table(header, rows)}

Flights are not people, and no slice is a protected group. But slices stand for communities: an airline for the regions it serves and
for its fares, a short distance for smaller cities, an early hour for those who need the whole day at the other end.
{_unequal(judged)}{_equal_errors(judged, equalised, cost) if equalised else ""}"""


def _equal_errors(judged: Sequence[Row], equalised: Sequence[Row], cost: Cost) -> str:
    even = cost.false_alarm / (cost.false_alarm + cost.missed_delay)
    return f"""

### Equal errors: shown, not enforced

With one threshold for each slice, every slice could miss the same share of its late flights ("equality of opportunity", Hardt, Price &
Srebro 2016). The thresholds are chosen on the flights of this table, so it shows the best case:

{_equalised_table(equalised)}

One threshold stays, {cost.alert_threshold:g}. At a probability of {even:g} an alert costs as much as it saves, whoever flies, as long as the probability is right in
the slice; {_gap(judged)} A higher threshold for some would keep from them alerts that pay, a lower one would send others
alerts that do not. And where slices differ in how many flights are late, right probabilities and equal errors of both kinds exclude each other
(Chouldechova 2017; Kleinberg, Mullainathan & Raghavan 2016). A slice with many misses needs better features, not another threshold."""


def _late(row: Row) -> float:
    return float(row["late"] / row["flights"])


def _unequal(judged: Sequence[Row]) -> str:
    if not judged:
        return "No slice of this test period is large enough to judge."
    worst, best = (pick(judged, key=lambda row: row["missed"][0]) for pick in (max, min))
    return f"""The alert does not serve them alike: of the late flights it misses {_percent(worst["missed"][0])} in {worst["cut"]} {worst["slice"]}, and {_percent(best["missed"][0])} in {best["cut"]} {best["slice"]}."""


def _gap(judged: Sequence[Row]) -> str:
    if not judged:
        return "no slice is large enough to tell."
    off = max(judged, key=lambda row: abs(row["mean_probability"] - _late(row)))
    return f"""it is furthest off in {off["cut"]} {off["slice"]}, {_percent(off["mean_probability"])} for {_percent(_late(off))}."""


def _equalised_table(equalised: Sequence[Row]) -> str:
    header = ("by", "slices", "missed, one threshold", "missed, one each", "thresholds", "on-time alerted, one threshold",
              "on-time alerted, one each", "cost per 1000", "more than one threshold costs")  # fmt: skip
    rows = [
        (row["cut"], row["slices"], _ends(row["missed"][0]), _ends(row["missed"][1]),
         " to ".join(f"{each:.2f}" for each in row["thresholds"] or ()), _ends(row["false_alarms"][0]),
         _ends(row["false_alarms"][1]), f"{row['cost_per_1000']:.0f}", _difference(row["cost_more"]))
        for row in equalised
    ]  # fmt: skip
    return table(header, rows)


def _difference(estimate: Sequence[float] | None) -> str:
    if estimate is None:
        return "no interval"
    value, low, high = estimate
    return f"{value:+.0f} ({low:+.0f} to {high:+.0f})"


def _ends(ends: Sequence[float] | None) -> str:
    return " to ".join(map(_percent, ends or ()))


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _share(estimate: Sequence[float] | None) -> str:
    """A share with its interval; a share alone has none, and no flight has no share."""
    if estimate is None:
        return ""
    share, *ends = estimate
    return f"{_percent(share)} ({_ends(ends)})" if ends else f"{_percent(share)} (no interval)"


def uncertainty(coverage: Sequence[Row]) -> str:
    """How often conformal sets held; `coverage` begins with the control and all test flights, and may be empty."""
    if not coverage:
        return "## How sure one answer is\n\nNot measured in this training (`evaluate.full_card`)."
    header = ("flights", "number", "late flights covered", "on-time flights covered", "both labels possible")
    rows = [
        (f"{row['cut']}: {row['slice']}", f"{row['flights']:,}", _share(row["late_covered"]),
         _share(row["on_time_covered"]), _percent(row["both"]))
        for row in coverage
    ]  # fmt: skip
    held = coverage[1]
    return f"""## How sure one answer is

The probability is the answer's own measure of doubt, and the reliability picture shows how right it is. A conformal set names the labels
that cannot be ruled out: late, on time, or both. It is calibrated on the validation period (crepes; within each label and hour of departure),
so that {_percent(CONFIDENCE)} of the late flights and {_percent(CONFIDENCE)} of the on-time ones are covered, *if* later flights are like those. The control is
calibrated on every other day of the validation period, tested on the days between.

{table(header, rows)}

Asked for {_percent(CONFIDENCE)}, they cover {_percent(held["late_covered"][0])} of the test period's late flights and {_percent(held["on_time_covered"][0])} of its on-time ones: weather and seasons are not alike, and which
label suffers depends on whether the later period has more or fewer late flights. {_percent(held["both"])} of the flights get both labels, which tells a traveller
nothing that the probability does not. So the API gives the probability alone: [decision 29](../docs/decisions/29-no-sets-in-the-answer.md).
`make replay` measures the coverage month by month."""
