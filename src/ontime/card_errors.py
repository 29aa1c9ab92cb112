"""The model card's sections about who bears the alert's errors, and about how sure a single answer is."""

from collections.abc import Mapping, Sequence
from typing import Any

from ontime import slices
from ontime.conformal import CONFIDENCE
from ontime.markdown import table
from ontime.params import Cost
from ontime.schema import WORDS

Row = Mapping[str, Any]
P, N = WORDS.positive, WORDS.negative


def errors_by_slice(slices: Sequence[Row], equalised: Sequence[Row], cost: Cost) -> str:
    """Both errors of the alert in each slice that is large enough to judge; what making them equal costs, if measured."""
    judged = [row for row in slices if row["gated"]]
    header = ("cut by", "slice", P, "predicted", f"{P}, and missed", f"{N}, and alerted")
    rows = [
        (row["cut"], row["slice"], _percent(_share_positive(row)), _percent(row["mean_probability"]),
         _share(row["missed"]), _share(row["false_alarms"]))
        for row in judged
    ]  # fmt: skip
    return f"""### Errors of the alert by slice

{table(header, rows)}

{WORDS.communities}
{_unequal(judged)}{_equal_errors(judged, equalised, cost) if equalised else ""}"""


def _equal_errors(judged: Sequence[Row], equalised: Sequence[Row], cost: Cost) -> str:
    even = cost.false_alarm / (cost.false_alarm + cost.missed)
    return f"""

### Equal errors: shown, not enforced

With one threshold for each slice, every slice could miss the same share of those that are {P} ("equality of opportunity", Hardt, Price &
Srebro 2016). The thresholds are chosen on the {WORDS.entities} of this table, so it shows the best case:

{_equalised_table(equalised)}

One threshold stays, {cost.alert_threshold:g}. At a probability of {even:g} an alert costs as much as it saves, whoever is concerned, as long as the probability is right in
the slice; {_gap(judged)} A higher threshold for some would keep from them alerts that pay, a lower one would send others
alerts that do not. And where slices differ in how many are {P}, right probabilities and equal errors of both kinds exclude each other
(Chouldechova 2017; Kleinberg, Mullainathan & Raghavan 2016). A slice with many misses needs better features, not another threshold."""


def _share_positive(row: Row) -> float:
    return float(row["positives"] / row["entities"])


def _unequal(judged: Sequence[Row]) -> str:
    if not judged:
        return "No slice of this test period is large enough to judge."
    worst, best = (pick(judged, key=lambda row: row["missed"][0]) for pick in (max, min))
    return f"""The alert does not serve them alike: of those that were {P} it misses {_percent(worst["missed"][0])} in {worst["cut"]} {worst["slice"]}, and {_percent(best["missed"][0])} in {best["cut"]} {best["slice"]}."""


def _gap(judged: Sequence[Row]) -> str:
    if not judged:
        return "no slice is large enough to tell."
    off = max(judged, key=lambda row: abs(row["mean_probability"] - _share_positive(row)))
    return f"""it is furthest off in {off["cut"]} {off["slice"]}, {_percent(off["mean_probability"])} for {_percent(_share_positive(off))}."""


def _equalised_table(equalised: Sequence[Row]) -> str:
    header = ("by", "slices", "missed, one threshold", "missed, one each", "thresholds", "false alarms, one threshold",
              "false alarms, one each", "cost per 1000", "more than one threshold costs")  # fmt: skip
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
    """A share with its interval; a share alone has none, and no entity has no share."""
    if estimate is None:
        return ""
    share, *ends = estimate
    return f"{_percent(share)} ({_ends(ends)})" if ends else f"{_percent(share)} (no interval)"


def uncertainty(coverage: Sequence[Row]) -> str:
    """How often conformal sets held; `coverage` begins with the control and all test entities, and may be empty."""
    if not coverage:
        return "## How sure one answer is\n\nNot measured in this training (`evaluate.full_card`)."
    header = (WORDS.entities, "number", f"{P}, and covered", f"{N}, and covered", "both labels possible")
    rows = [
        (f"{row['cut']}: {row['slice']}", f"{row['entities']:,}", _share(row["positive_covered"]),
         _share(row["negative_covered"]), _percent(row["both"]))
        for row in coverage
    ]  # fmt: skip
    held = coverage[1]
    return f"""## How sure one answer is

The probability is the answer's own measure of doubt, and the reliability picture shows how right it is. A conformal set names the labels
that cannot be ruled out: {P}, {N}, or both. It is calibrated on the validation period (crepes; within each label{f" and {slices.GROUP}" if slices.GROUP else ""}),
so that {_percent(CONFIDENCE)} of either label are covered, *if* later {WORDS.entities} are like those. The control is
calibrated on every other day of the validation period, tested on the days between.

{table(header, rows)}

Asked for {_percent(CONFIDENCE)}, they cover {_percent(held["positive_covered"][0])} of the test period's {P} and {_percent(held["negative_covered"][0])} of its {N} {WORDS.entities}: seasons are not alike, and which
label suffers depends on whether the later period has more or fewer that are {P}. {_percent(held["both"])} get both labels, which tells a reader
nothing that the probability does not. So the API gives the probability alone: [decision 29](../docs/decisions/29-conformal-sets-and-intervals.md).
`make replay` measures the coverage month by month."""
