"""Posts alerts of tiers 1 and 2 to a webhook as JSON, and retries until the receiver accepts them."""

import json
from http import HTTPStatus
from http.client import HTTPException
from urllib.request import Request, urlopen

import sqlalchemy as sa
from pydantic import AnyHttpUrl

from monitoring import alerts
from monitoring.alerts import Alert, Tier
from ontime import database

TIMEOUT_SECONDS = 10


def post_alerts(engine: sa.Engine, url: AnyHttpUrl | None) -> int:
    """Post the alerts of each day that the receiver has not accepted yet, oldest first; the number of days posted.

    If the receiver is down or rejects a post, the next call tries again: the alerts stay in `decisions`.
    """
    if url is None:
        return 0
    accepted_days = {row.evidence["day"] for row in database.decisions_of(engine, "notified")}
    posted_days = 0
    for row in database.decisions_of(engine, "monitor", verdict="alert"):
        day = row.evidence["day"]
        severe = [alert for alert in alerts.from_json(row.evidence["alerts"]) if alert.tier <= Tier.RETRAIN]
        if not severe or day in accepted_days:
            continue
        if not _accepted(str(url), payload(day, severe, row.evidence.get("why"))):
            break
        database.record_decision(engine, "notified", "taken", {"day": day, "alerts": len(severe)})
        posted_days += 1
    return posted_days


def payload(day: str, severe: list[Alert], why: str | None = None) -> dict[str, object]:
    """The JSON body: `text` is for chat programs, the other fields are for machines. `why`: a diagnosis' headline."""
    text = f"ontime, {day}: " + "; ".join(f"{alert.summary}: {alert.reason}" for alert in severe)
    if any(alert.name in alerts.PERFORMANCE_ALERTS for alert in severe):
        text += f". Why: {why}; `make diagnose` has the details" if why else ". Why: run `make diagnose`"
    return {
        "text": text,
        "day": day,
        "severity": "page" if any(alert.pages for alert in severe) else "ticket",
        "alerts": [vars(alert) for alert in severe],
        "why": why,
    }


def _accepted(url: str, content: dict[str, object]) -> bool:
    request = Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})  # noqa: S310  settings take http only
    try:
        with urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310  see above
            return bool(response.status < HTTPStatus.MULTIPLE_CHOICES)
    except (OSError, HTTPException):  # down, too slow, closed the connection, or not HTTP
        return False
