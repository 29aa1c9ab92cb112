"""A diagnosis as text, for readers who know neither Shapley values nor calibration."""

from monitoring.decomposition import Change, Difference
from monitoring.diagnosis import NOTABLE_LOG_LOSS, Cause, Diagnosis
from ontime.schema import WORDS

ENTITIES = WORDS.entities


def format_interval(difference: Difference, digits: int = 3) -> str:
    """The value with its 95 % interval; a rounded zero is never negative.

    >>> format_interval(Difference(0.0312, -0.0004, 0.0628))
    '+0.031 (+0.000 to +0.063)'
    """
    value, low, high = (f"{each:+z.{digits}f}" for each in difference)
    return f"{value} ({low} to {high})"


def describe_cause(cause: Cause, diagnosis: Diagnosis) -> str:
    """What is wrong, and what it costs."""
    cost = f"it costs {format_interval(cause.cost)} of log-loss"
    if cause.kind == "base rate":
        rate, predicted = diagnosis.positive_rate[1], diagnosis.predicted[1]
        return f"base rate: {rate:.1%} of the {ENTITIES} were {WORDS.positive}, {predicted:.1%} were predicted; {cost}"
    if cause.kind == "concept drift":
        return f"{cause.name}: the predictions for all {ENTITIES} are less informative than before; {cost}"
    if cause.kind == "slice":
        return f"{cause.name}: the predictions for these {ENTITIES} are no longer calibrated; {cost}"
    name = f"{cause.name} ({WORDS.families.get(cause.name, 'features')})"
    if cause.silent:
        return (
            f"{name}: these features hardly change the predictions any more, so their values are probably missing, "
            f"constant or zero; {cost}"
        )
    return (
        f"{name}: the outcomes contradict these features, so their values or their meaning are probably wrong; {cost}"
    )


def headline(diagnosis: Diagnosis) -> str:
    """The first sentence: the most costly notable cause, or that there is none."""
    if diagnosis.notable:
        return describe_cause(diagnosis.notable[0], diagnosis)
    first = diagnosis.causes[0]
    return (
        f"nothing stands out: no cause adds a significant {NOTABLE_LOG_LOSS:g} of log-loss or more; the "
        f"largest is {first.name}, {format_interval(first.cost)}"
    )


def describe_change(change: Change) -> list[str]:
    """The change of the log-loss, and its parts."""
    total = change.total
    chance = "" if total.low > 0 or total.high < 0 else ", which may be chance"
    return [
        f"log-loss {change.before:.3f} before, {change.after:.3f} now: {format_interval(total)}{chance}",
        f"of that, {format_interval(change.covariates)} is due to the mix of {ENTITIES} (harder or easier to predict), "
        f"{format_interval(change.base_rate)} to the base rate, {format_interval(change.concept_drift)} to concept "
        "drift",
    ]


def summary(diagnosis: Diagnosis) -> list[str]:
    others = [describe_cause(cause, diagnosis) for cause in diagnosis.notable[1:4]]
    change = describe_change(diagnosis.changes["log_loss"])
    return [headline(diagnosis), *(f"also {other}" for other in others), *change]
