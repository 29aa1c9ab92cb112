"""What the monitor and the policy said last: rows of the table of decisions, written by other processes."""

from collections.abc import Mapping
from typing import Any, TypeVar

import sqlalchemy as sa

from ontime import database
from serving.answers import Action, Alert, Monitored, Quality

Part = TypeVar("Part", Alert, Action, Quality)
RETRAIN = 2  # the tiers up to this one are more than a remark


def last_look(engine: sa.Engine) -> Monitored | None:
    """The monitor's last day, and the policy's last action; None before the first.

    Written by another version it may lack, or have more than, what is shown: neither may stop the service.
    """
    looked, decided = (database.last_decision(engine, kind) for kind in ("monitor", "policy"))
    if looked is None or "day" not in looked.evidence:
        return None
    alerts = (_shared(Alert, each) for each in looked.evidence.get("alerts", []))
    return Monitored(
        day=looked.evidence["day"],
        alerts=tuple(alert for alert in alerts if alert is not None),
        why=looked.evidence.get("why"),
        quality=_quality(looked.evidence.get("quality")),
        policy=None if decided is None else _shared(Action, {"reason": "", **decided.evidence}),
    )


def _shared(model: type[Part], written: Mapping[str, Any]) -> Part | None:
    """What of a row is shown; None where it lacks something."""
    try:
        return model.model_validate({name: written[name] for name in model.model_fields})
    except (KeyError, ValueError):
        return None


def _quality(measured: Mapping[str, Any] | None) -> Quality | None:
    if measured is None:
        return None
    entities, labelled = measured.get("entities"), measured.get("labelled")
    coverage = labelled / entities if entities and labelled is not None else None
    return _shared(Quality, {**measured, "coverage": coverage})


def notes_of(monitored: Monitored | None) -> tuple[str, ...]:
    """What a person should know of, in words."""
    if monitored is None:
        return ()
    alerts = [
        f"tier {alert.tier} alert on {monitored.day}: {alert.reason} ({alert.name} {alert.value:.4g}, "
        f"limit {alert.above:g})"
        for alert in monitored.alerts
        if alert.tier <= RETRAIN
    ]
    stopped = monitored.policy is not None and monitored.policy.action == "stop"
    return (*alerts, *(["the policy has stopped: no release is retrained or promoted"] if stopped else []))
