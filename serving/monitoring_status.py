"""The latest results of monitor and policy: rows of the table `decisions`, written by other processes."""

from collections.abc import Mapping
from typing import Any, TypeVar

import sqlalchemy as sa

from ontime import database
from serving.operations_responses import MonitoringAlert, MonitoringStatus, PolicyAction, Quality

Part = TypeVar("Part", MonitoringAlert, PolicyAction, Quality)
RETRAIN_TIER = 2  # alerts up to this tier need attention


def latest_status(engine: sa.Engine) -> MonitoringStatus | None:
    """The monitor's last day and the policy's last action; None before the first run of the monitor.

    Another version of the project may have written fewer or more fields; neither may stop the service.
    """
    monitor_row, policy_row = (database.last_decision(engine, kind) for kind in ("monitor", "policy"))
    if monitor_row is None or "day" not in monitor_row.evidence:
        return None
    alerts = (_validated(MonitoringAlert, each) for each in monitor_row.evidence.get("alerts", []))
    return MonitoringStatus(
        day=monitor_row.evidence["day"],
        alerts=tuple(alert for alert in alerts if alert is not None),
        why=monitor_row.evidence.get("why"),
        quality=_quality(monitor_row.evidence.get("quality")),
        policy=None if policy_row is None else _validated(PolicyAction, {"reason": "", **policy_row.evidence}),
    )


def _validated(model: type[Part], evidence: Mapping[str, Any]) -> Part | None:
    """The fields of `model`; None if one is missing or invalid."""
    try:
        return model.model_validate({name: evidence[name] for name in model.model_fields})
    except (KeyError, ValueError):
        return None


def _quality(evidence: Mapping[str, Any] | None) -> Quality | None:
    if evidence is None:
        return None
    entities, labelled = evidence.get("entities"), evidence.get("labelled")
    coverage = labelled / entities if entities and labelled is not None else None
    return _validated(Quality, {**evidence, "coverage": coverage})


def monitoring_notes(status: MonitoringStatus | None) -> tuple[str, ...]:
    """Alerts of tiers 1 and 2, and whether the policy has stopped, as sentences."""
    if status is None:
        return ()
    alerts = [
        f"tier {alert.tier} alert on {status.day}: {alert.reason} ({alert.name} {alert.value:.4g}, "
        f"limit {alert.above:g})"
        for alert in status.alerts
        if alert.tier <= RETRAIN_TIER
    ]
    stopped = status.policy is not None and status.policy.action == "stop"
    return (*alerts, *(["the policy has stopped: no release is retrained or promoted"] if stopped else []))
