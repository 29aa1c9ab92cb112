"""A diagnosis in words, for people who know neither Shapley nor calibration."""

from monitoring.changes import Change, Line
from monitoring.diagnosis import STANDS_OUT, Cause, Diagnosis
from ontime.schema import WORDS

E = WORDS.entities


def interval(line: Line, digits: int = 3) -> str:
    """The value with its 95 % interval; z: a zero has no sign."""
    value, low, high = (f"{each:+z.{digits}f}" for each in line)
    return f"{value} ({low} to {high})"


def sentence(cause: Cause, diagnosis: Diagnosis) -> str:
    """What is wrong with it, and what that costs."""
    cost = f"it costs {interval(cause.cost)} of log-loss"
    if cause.kind == "base rate":
        rate, predicted = diagnosis.positive_rate[1], diagnosis.predicted[1]
        return f"base rate: {rate:.1%} of the {E} were {WORDS.positive} and {predicted:.1%} were predicted; {cost}"
    if cause.kind == "relation":
        return f"{cause.name}: the outcomes of all {E} follow the answers less than before; {cost}"
    if cause.kind == "slice":
        return f"{cause.name}: the outcomes of these {E} no longer fit their answers; {cost}"
    name = f"{cause.name} ({WORDS.families.get(cause.name, 'features')})"
    if cause.silent:
        return f"{name}: nearly the same is said of every {WORDS.entity}, so values are missing, frozen or zero; {cost}"
    return f"{name}: the outcomes contradict it, so its values are wrong or mean something else now; {cost}"


def headline(diagnosis: Diagnosis) -> str:
    """The first sentence: what stands out, or that nothing does."""
    if diagnosis.culprits:
        return sentence(diagnosis.culprits[0], diagnosis)
    first = diagnosis.causes[0]
    return (
        f"nothing stands out: no cause surely costs {STANDS_OUT:g} of log-loss more than before; "
        f"the largest is {first.name}, {interval(first.cost)}"
    )


def taken_apart(change: Change) -> list[str]:
    """The change of the log-loss, and its parts."""
    total = change.total
    sure = "" if total.low > 0 or total.high < 0 else ", which may be chance"
    return [
        f"log-loss {change.before:.3f} before, {change.after:.3f} now: {interval(total)}{sure}",
        f"of that {interval(change.covariates)} is the mix of {E}, harder or easier ones; "
        f"{interval(change.base_rate)} the base rate; {interval(change.relation)} the relation itself",
    ]


def lines(diagnosis: Diagnosis) -> list[str]:
    others = [sentence(cause, diagnosis) for cause in diagnosis.culprits[1:4]]
    return [headline(diagnosis), *(f"also {other}" for other in others), *taken_apart(diagnosis.changes["log_loss"])]
