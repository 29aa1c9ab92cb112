"""What to do about what was observed: a pure function, and the whole of the policy.

It only decides. pipelines/operations/apply_policy.py carries the decision out. The table of cases is in
tests/monitoring/test_policy.py.
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Literal

from monitoring.alerts import Alert, Tier
from ontime.params import Policy
from ontime.schema import WORDS


class Action(StrEnum):
    NOTHING = "nothing"
    RETRAIN = "retrain"
    STOP = "stop"  # nothing moves until somebody has looked
    PROMOTE = "promote"  # the candidate answers, its predecessor goes on in the shadow
    WITHDRAW = "withdraw"  # the shadow ends, and the champion stays
    ROLL_BACK = "roll back"


@dataclass(frozen=True)
class Trial:
    """Two models on the same labelled entities, which neither was trained on. Differences are in log-loss."""

    role: Literal["candidate", "predecessor"]  # of the model in the shadow
    version: str
    days: int  # since the trial began
    entities: int  # labelled, answered by both
    low: float | None  # 95 % interval by days of the other's loss less the champion's; None: too few days
    high: float | None
    kept_out: str | None = None  # what the gate has against it, where somebody put it into the shadow by hand
    broken: str | None = None  # why nothing can be compared


@dataclass(frozen=True)
class Observed:
    """All that the policy knows at the end of a day."""

    day: date
    alerts: tuple[Alert, ...]
    new_labels: int  # entities with an outcome, newer than everything that the champion was made from
    retrainings: tuple[date, ...]  # when a retraining was begun, whatever came of it
    in_charge_since: date  # the champion's first day
    too_early: str | None  # why there is not enough to train on yet, at the beginning of a year
    trial: Trial | None


@dataclass(frozen=True)
class Decision:
    action: Action
    reason: str


def decide(seen: Observed, policy: Policy) -> Decision:
    """The one action of this day, and why. Stopping comes first, then the running trial, then retraining."""
    broken = [alert for alert in seen.alerts if alert.tier is Tier.STOP]
    if broken:
        return Decision(Action.STOP, f"{_names(broken)}: the champion stays, nothing is retrained on this")
    if seen.trial is not None:
        return _about_trial(seen.trial, policy)
    return _about_retraining(seen, policy)


def _about_trial(trial: Trial, policy: Policy) -> Decision:
    if trial.broken is not None:
        return Decision(Action.WITHDRAW, f"release {trial.version} cannot be compared: {trial.broken}")
    if trial.role == "predecessor":
        return _about_predecessor(trial, policy)
    if trial.days < policy.shadow_days or trial.entities < policy.shadow_labels or trial.low is None:
        return Decision(
            Action.NOTHING,
            f"release {trial.version} is in the shadow for {trial.days} of {policy.shadow_days} days, with "
            f"{trial.entities:,} of at least {policy.shadow_labels:,} labelled {WORDS.entities}",
        )
    if trial.low > policy.margin_log_loss:
        return Decision(Action.WITHDRAW, f"release {trial.version} is worse in the shadow: {_interval(trial)}")
    if trial.kept_out is not None:
        return Decision(
            Action.WITHDRAW,
            f"release {trial.version} shows no harm in the shadow: {_interval(trial)}; but {trial.kept_out}. "
            "Only a person may promote it",
        )
    return Decision(Action.PROMOTE, f"the gate has let release {trial.version} through, and the shadow shows no harm: "
                    f"{_interval(trial)}")  # fmt: skip


def _about_predecessor(trial: Trial, policy: Policy) -> Decision:
    if trial.entities >= policy.shadow_labels and trial.high is not None:
        if trial.high < -policy.margin_log_loss:
            reason = f"worse than release {trial.version} on the same new {WORDS.entities}: {_interval(trial)}"
            return Decision(Action.ROLL_BACK, reason)
        if trial.days >= policy.watch_days:
            reason = f"no worse than release {trial.version} for {trial.days} days: {_interval(trial)}"
            return Decision(Action.WITHDRAW, reason)
    return Decision(
        Action.NOTHING, f"watched beside release {trial.version} for {trial.days} of {policy.watch_days} days"
    )


def _about_retraining(seen: Observed, policy: Policy) -> Decision:
    worse = [alert for alert in seen.alerts if alert.tier is Tier.RETRAIN]
    age = (seen.day - max((*seen.retrainings, seen.in_charge_since))).days
    if worse:
        wanted = _names(worse)
    elif age >= policy.refresh_days:
        wanted = f"{age} days since the last training, {policy.refresh_days} is the longest"
    else:
        return Decision(Action.NOTHING, "nothing is wrong")
    held = _held_back(seen, policy)
    if held is not None:
        return Decision(Action.NOTHING, f"{wanted}; but {held}")
    return Decision(Action.RETRAIN, wanted)


def _held_back(seen: Observed, policy: Policy) -> str | None:
    """Why no retraining may begin now, or None."""
    if seen.too_early is not None:
        return seen.too_early
    if seen.retrainings and (waited := (seen.day - max(seen.retrainings)).days) < policy.cooldown_days:
        return f"the last retraining was {waited} days ago, the cooldown is {policy.cooldown_days}"
    recent = sum((seen.day - day).days < policy.budget_days for day in seen.retrainings)
    if recent >= policy.budget:
        return f"the budget of {policy.budget} retrainings in {policy.budget_days} days is spent"
    if seen.new_labels < policy.min_labels:
        return f"only {seen.new_labels:,} labelled {WORDS.entities} are new, a retraining needs {policy.min_labels:,}"
    return None


def _names(alerts: list[Alert]) -> str:
    return "; ".join(alert.told for alert in alerts)


def _interval(trial: Trial) -> str:
    interval = f"{trial.low:+.4f} to {trial.high:+.4f}"
    return f"the other less the champion {interval} in log-loss over {trial.entities:,} {WORDS.entities}"
