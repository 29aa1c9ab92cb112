"""A diagnosis in words, for people who know neither Shapley nor calibration."""

from monitoring.changes import Change, Line
from monitoring.diagnosis import STANDS_OUT, Cause, Diagnosis

FAMILIES = {
    "schedule": "what the timetable says of the flight",
    "congestion": "how many flights are scheduled at the same time",
    "plane": "the aircraft's age and size",
    "weather": "the weather at the origin",
    "operations": "delays of the flights before it",
    "rotation": "where the aircraft is",
}


def interval(line: Line, digits: int = 3) -> str:
    return f"{line.value:+.{digits}f} ({line.low:+.{digits}f} to {line.high:+.{digits}f})"


def sentence(cause: Cause, diagnosis: Diagnosis) -> str:
    """What is wrong with it, and what that costs."""
    cost = f"which costs {interval(cause.cost)} of log-loss"
    if cause.kind == "base rate":
        late, predicted = diagnosis.late[1], diagnosis.predicted[1]
        return f"base rate: {late:.1%} of the flights were late, {predicted:.1%} were predicted, {cost}"
    if cause.kind == "relation":
        return f"{cause.name}: outcomes of all flights follow the answers less than before, {cost}"
    if cause.kind == "slice":
        return f"{cause.name}: the outcomes of these flights stopped fitting their answers, {cost}"
    if cause.silent:
        return f"{cause.name}: these features say nearly the same of every flight (missing, frozen or zero?), {cost}"
    return f"{cause.name}: outcomes contradict what these features say (wrong values, or a new relation?), {cost}"


def headline(diagnosis: Diagnosis) -> str:
    """The first sentence: what stands out, or that nothing does."""
    if diagnosis.culprits:
        return sentence(diagnosis.culprits[0], diagnosis)
    first = diagnosis.causes[0]
    return (
        f"nothing stands out: no cause costs {STANDS_OUT:g} of log-loss more than before, for sure; "
        f"the largest is {first.name}, {interval(first.cost)}"
    )


def taken_apart(change: Change) -> str:
    """The parts of the change of the log-loss."""
    return (
        f"log-loss {change.before:.3f} before, {change.after:.3f} now: {interval(change.total)}, of which "
        f"{interval(change.covariates)} other flights, {interval(change.base_rate)} the base rate, "
        f"{interval(change.relation)} what is left: the relation of features and outcomes"
    )


def lines(diagnosis: Diagnosis) -> list[str]:
    others = [sentence(cause, diagnosis) for cause in diagnosis.culprits[1:4]]
    return [headline(diagnosis), *(f"also {other}" for other in others), taken_apart(diagnosis.changes["log_loss"])]
