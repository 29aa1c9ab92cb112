"""Carries out what the policy decided about releases, once a day. retrain.py does the retraining."""

import sys
from datetime import date, datetime

import sqlalchemy as sa

from monitoring.policy import Action
from ontime import database
from ontime.settings import Settings
from pipelines.operations import transitions
from pipelines.operations.transition_log import BY_POLICY, CHALLENGE, PROMOTION, ROLLBACK, MoveCause

KINDS = {Action.PROMOTE: PROMOTION, Action.ROLL_BACK: ROLLBACK, Action.WITHDRAW: CHALLENGE}


def carry_out(
    settings: Settings, engine: sa.Engine, action: Action, version: str | None, day: date, now: datetime
) -> None:
    """Move the release that the decision of `day` names. Does nothing if it was moved by hand since."""
    kind = KINDS.get(action)
    if kind is None or version is None or database.last_decision(engine, kind, day=str(day), version=version):
        return
    decision = database.last_decision(engine, "policy", day=str(day))
    reason = decision.evidence["reason"] if decision else BY_POLICY
    cause = MoveCause(BY_POLICY, reason, {"day": str(day)}, now)
    try:
        if action is Action.PROMOTE:
            transitions.promote(settings, engine, version, cause, watched=True)
        elif action is Action.ROLL_BACK:
            transitions.roll_back(settings, engine, cause, to=version)
        else:
            transitions.withdraw(settings, engine, cause, version)
    except transitions.TransitionRefused as refused:  # a later verdict of the gate rejects it
        print(f"apply_policy: {refused}", file=sys.stderr)
