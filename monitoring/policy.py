"""The policy: a pure function from the state at the end of a day to one action.

pipelines/operations/apply_policy.py carries the action out. tests/monitoring/test_policy.py has the policy as a table
of cases.
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Literal

from monitoring.alerts import Alert, Tier
from ontime.counts import counted
from ontime.params import Policy
from ontime.schema import WORDS


class Action(StrEnum):
    NOTHING = "nothing"
    RETRAIN = "retrain"
    STOP = "stop"  # no release changes until a person has checked
    PROMOTE = "promote"  # the candidate goes live, its predecessor becomes the shadow
    WITHDRAW = "withdraw"  # the shadow ends, the champion stays live
    ROLL_BACK = "roll back"


@dataclass(frozen=True)
class Trial:
    """Champion and shadow compared on the same labelled entities, which neither was trained on, by log-loss."""

    role: Literal["candidate", "predecessor"]  # of the shadow model
    version: str
    days: int  # since the trial began
    entities: int  # labelled, predicted by both
    low: float | None  # 95 % interval by days of the shadow's loss minus the champion's; None: too few days
    high: float | None
    kept_out: str | None = None  # why the gate rejected it, if a person made it the shadow
    broken: str | None = None  # why the two cannot be compared


@dataclass(frozen=True)
class DayState:
    """All that the policy depends on at the end of a day."""

    day: date
    alerts: tuple[Alert, ...]
    new_labels: int  # entities with an outcome, newer than all data of the champion; counted up to `min_labels`
    retrainings: tuple[date, ...]  # the days on which a retraining started, whatever its result
    champion_since: date  # its first live day
    too_early: str | None  # why the data do not suffice for a training yet, at the beginning of a year
    trial: Trial | None


@dataclass(frozen=True)
class Decision:
    action: Action
    reason: str


def choose_action(state: DayState, policy: Policy) -> Decision:
    """The action of this day, and its reason. Stopping has priority, then the running trial, then retraining.

    >>> from ontime.params import load_params
    >>> today = date(2013, 7, 1)
    >>> alert = Alert("auc_shortfall", Tier.RETRAIN, value=0.05, above=0.03, reason="ranks worse than expected")
    >>> state = DayState(today, (alert,), 50_000, (date(2013, 6, 28),), date(2013, 6, 1), too_early=None, trial=None)
    >>> choose_action(state, load_params().policy).reason
    'auc_shortfall 0.05 (limit 0.03); but the last retraining was 3 days ago, the cooldown is 14'
    """
    broken = [alert for alert in state.alerts if alert.tier is Tier.STOP]
    if broken:
        return Decision(
            Action.STOP, f"{_names(broken)}: the champion stays live, and nothing is retrained on these data"
        )
    if state.trial is not None:
        return _trial_action(state.trial, policy)
    return _retraining_action(state, policy)


def _trial_action(trial: Trial, policy: Policy) -> Decision:
    if trial.broken is not None:
        return Decision(Action.WITHDRAW, f"release {trial.version} cannot be compared: {trial.broken}")
    if trial.role == "predecessor":
        return _predecessor_action(trial, policy)
    if trial.days < policy.shadow_days or trial.entities < policy.shadow_labels or trial.low is None:
        return Decision(
            Action.NOTHING,
            f"release {trial.version} has been the shadow for {trial.days} of {policy.shadow_days} days, with "
            f"{trial.entities:,} of at least {policy.shadow_labels:,} labelled {WORDS.entities}",
        )
    if trial.low > policy.margin_log_loss:
        return Decision(Action.WITHDRAW, f"release {trial.version} is worse than the champion: {_interval(trial)}")
    if trial.kept_out is not None:
        return Decision(
            Action.WITHDRAW,
            f"release {trial.version} is not significantly worse than the champion: {_interval(trial)}; but "
            f"{trial.kept_out}. Only a person may promote it",
        )
    reason = f"release {trial.version} passed the gate and is not significantly worse than the champion: "
    return Decision(Action.PROMOTE, reason + _interval(trial))


def _predecessor_action(trial: Trial, policy: Policy) -> Decision:
    if trial.entities >= policy.shadow_labels and trial.high is not None:
        if trial.high < -policy.margin_log_loss:
            reason = (
                f"the champion is worse than release {trial.version} on the same new {WORDS.entities}: "
                f"{_interval(trial)}"
            )
            return Decision(Action.ROLL_BACK, reason)
        if trial.days >= policy.watch_days:
            reason = (
                f"the champion is not significantly worse than release {trial.version} after {trial.days} days: "
                f"{_interval(trial)}"
            )
            return Decision(Action.WITHDRAW, reason)
    return Decision(
        Action.NOTHING,
        f"the champion has been compared with release {trial.version} for {trial.days} of {policy.watch_days} days",
    )


def _retraining_action(state: DayState, policy: Policy) -> Decision:
    worse = [alert for alert in state.alerts if alert.tier is Tier.RETRAIN]
    age = (state.day - max((*state.retrainings, state.champion_since))).days
    if worse:
        reason = _names(worse)
    elif age >= policy.refresh_days:
        reason = f"{counted(age, 'day')} since the last training, the maximum is {policy.refresh_days}"
    else:
        return Decision(Action.NOTHING, "nothing is wrong")
    obstacle = _obstacle(state, policy)
    if obstacle is not None:
        return Decision(Action.NOTHING, f"{reason}; but {obstacle}")
    return Decision(Action.RETRAIN, reason)


def _obstacle(state: DayState, policy: Policy) -> str | None:
    """Why no retraining may start now, or None."""
    if state.too_early is not None:
        return state.too_early
    if state.retrainings and (elapsed := (state.day - max(state.retrainings)).days) < policy.cooldown_days:
        return f"the last retraining was {counted(elapsed, 'day')} ago, the cooldown is {policy.cooldown_days}"
    recent = sum((state.day - day).days < policy.budget_days for day in state.retrainings)
    if recent >= policy.budget:
        return f"the budget of {policy.budget} retrainings in {policy.budget_days} days is used up"
    if state.new_labels < policy.min_labels:
        return f"only {state.new_labels:,} new labelled {WORDS.entities}, a retraining needs {policy.min_labels:,}"
    return None


def _names(alerts: list[Alert]) -> str:
    return "; ".join(alert.summary for alert in alerts)


def _interval(trial: Trial) -> str:
    interval = f"{trial.low:+.4f} to {trial.high:+.4f}"
    return f"the shadow's log-loss minus the champion's is {interval} over {trial.entities:,} {WORDS.entities}"
