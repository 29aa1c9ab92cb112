"""Alerts of the tiers that bother somebody, posted as JSON until somebody has taken them."""

import json
from http import HTTPStatus
from http.client import HTTPException
from urllib.request import Request, urlopen

import sqlalchemy as sa
from pydantic import AnyHttpUrl

from monitoring import alerts
from monitoring.alerts import Alert, Tier
from ontime import database

PATIENCE_SECONDS = 10


def deliver(engine: sa.Engine, url: AnyHttpUrl | None) -> int:
    """Post each day's alerts that were not taken yet, the oldest first; how many days were delivered now.

    A receiver that is away or refuses is tried again the next time: the alerts stay in `decisions`.
    """
    if url is None:
        return 0
    told = {row.evidence["day"] for row in database.decisions_of(engine, "notified")}
    delivered = 0
    for row in database.decisions_of(engine, "monitor"):
        day = row.evidence["day"]
        loud = [alert for alert in alerts.restored(row.evidence["alerts"]) if alert.tier <= Tier.RETRAIN]
        if not loud or day in told:
            continue
        if not _taken(str(url), message(day, loud, row.evidence.get("why"))):
            break
        database.record_decision(engine, "notified", "taken", {"day": day, "alerts": len(loud)})
        delivered += 1
    return delivered


def message(day: str, loud: list[Alert], why: str | None = None) -> dict[str, object]:
    """What is posted: `text` is what chat programs show, the rest is for machines. `why`: what a diagnosis said."""
    worst = min(alert.tier for alert in loud)
    text = f"ontime, {day}: " + "; ".join(f"{alert.told}: {alert.reason}" for alert in loud)
    if any(alert.name in alerts.OF_PERFORMANCE for alert in loud):
        text += f". Why: {why}; `make diagnose` has the rest" if why else ". Why: `make diagnose`"
    return {
        "text": text,
        "day": day,
        "severity": "page" if worst is Tier.STOP else "ticket",
        "alerts": [vars(alert) for alert in loud],
        "why": why,
    }


def _taken(url: str, content: dict[str, object]) -> bool:
    request = Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})  # noqa: S310  settings take http only
    try:
        with urlopen(request, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310  see above
            return bool(answer.status < HTTPStatus.MULTIPLE_CHOICES)
    except (OSError, HTTPException):  # away, too slow, broke off, or speaks no HTTP
        return False
