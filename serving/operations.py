"""How the service itself is doing: what the page /ops shows."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from ontime import database, release
from ontime.release import Pointer, ReleaseRefused
from ontime.settings import Settings
from serving import monitored, tools
from serving.answers import (
    Challenging,
    Decision,
    Latency,
    Minute,
    Operations,
    ReleaseState,
    Traffic,
)
from serving.keeping import Keeper
from serving.live import Live, Serving
from serving.metrics import Verdict

MOST_ROWS = 10_000
MINUTES = 60
MOST_DECISIONS = 20
ALWAYS_ON_FEED = ("monitor", "policy", "retraining", "retrained")  # rows of older versions do not say it themselves


def overview(live: Live, keeper: Keeper, settings: Settings) -> Operations:
    """Everything that the page /ops shows; while the database is away, all but what is in it."""
    releases = settings.releases
    pointer, serving = release.read_pointer(releases), live.serving
    answering = serving.champion.manifest.version
    here = keeper.away is None
    if here:
        keeper.look()
    return Operations(
        answering=answering,
        ready=keeper.full is None,
        notes=notes_of(live, keeper),
        challenger=_challenging(serving),
        monitored=keeper.monitored,
        retraining_asked_at=_retraining_asked_at(keeper.engine) if here else None,
        releases=tuple(_state(releases, each, answering, pointer) for each in reversed(release.published(releases))),
        traffic=_traffic(keeper.engine) if here else None,
        decisions=_decisions(keeper.engine) if here else (),
        links=tools.links(settings.links, settings.ui_links),
    )


def _challenging(serving: Serving) -> Challenging | None:
    if serving.challenger is None:
        return None
    return Challenging(version=serving.challenger.manifest.version, share=serving.share)


def _decisions(engine: sa.Engine) -> tuple[Decision, ...]:
    return tuple(
        Decision(
            decided_at=row.decided_at,
            clock="feed" if _on_the_feeds_clock(row) else "real",
            kind=row.kind,
            verdict=row.verdict,
            reason=_reason(row.evidence),
        )
        for row in database.latest_decisions(engine, MOST_DECISIONS)
    )


def _on_the_feeds_clock(row: sa.Row[Any]) -> bool:
    return row.kind in ALWAYS_ON_FEED or row.evidence.get(database.CLOCK) == database.FEED


def last_verdict(keeper: Keeper) -> Verdict | None:
    """The monitor's last word; None before its first, and while the database is away."""
    if keeper.away is not None:
        return None
    try:
        row = database.last_decision(keeper.engine, "monitor")
        asked_at = _retraining_asked_at(keeper.engine)
    except sa.exc.SQLAlchemyError:  # the keeper finds out by itself; a scrape must not fail for it
        return None
    return Verdict(row.decided_at, row.evidence["figures"], row.evidence["alerts"], asked_at) if row else None


def _retraining_asked_at(engine: sa.Engine) -> datetime | None:
    """Since when a retraining, asked for by the policy or begun by hand, has not been finished; None: none waits."""
    asked = database.last_decision(engine, "policy", action="retrain"), database.last_decision(engine, "retraining")
    unfinished = [
        row.decided_at
        for row in asked
        if row is not None and database.last_decision(engine, "retrained", day=row.evidence["day"]) is None
    ]
    return min(unfinished, default=None)


def notes_of(live: Live, keeper: Keeper) -> tuple[str, ...]:
    """What is not as it should be, in words; no path and no address, because anybody may read them."""
    notes = []
    if live.refused is not None:
        notes.append("the newest release was refused; the one before goes on answering (the log says why)")
    if keeper.away is not None:
        notes.append(f"the database is away: {len(keeper.spool)} predictions wait in the spool")
    if keeper.full is not None:
        notes.append("neither the database nor the disk takes predictions, so none is given")
    return (*notes, *monitored.notes_of(keeper.monitored))


def _state(releases: Path, version: str, answering: str, pointer: Pointer | None) -> ReleaseState:
    try:
        manifest, state = release.verify(releases / version), "on standby"
    except ReleaseRefused:
        nothing = date(1970, 1, 1)
        return ReleaseState(
            version=version, algorithm="unknown", trained_from=nothing, trained_until=nothing, state="refused"
        )
    if version == answering:
        state = "live"
    elif pointer and pointer.challenger and pointer.challenger.version == version:
        state = "challenger"
    elif pointer and version in pointer.rolled_back:
        state = "rolled back"
    told = manifest.model_dump(include={"version", "algorithm", "trained_from", "trained_until"})
    return ReleaseState.model_validate({**told, "state": state})


def _traffic(engine: sa.Engine) -> Traffic:
    table, since = database.predictions.c, datetime.now(UTC) - timedelta(minutes=MINUTES)
    # Both databases write a moment as 2013-11-05 10:15:00, in UTC: so far it names the minute.
    minute = sa.func.substr(sa.cast(table.answered_at, sa.String), 1, len("2013-11-05 10:15")).label("minute")
    alone = sa.case((table.features == "request", 1), else_=0)
    alert = sa.case((table.alert, 1), else_=0)
    counted = (
        sa.select(minute, sa.func.count(), sa.func.sum(alert), sa.func.sum(alone))
        .where(table.answered_at >= since)
        .group_by(minute)
        .order_by(minute)
    )
    with engine.connect() as connection:
        counts = connection.execute(counted).all()
        requests = _requests(connection, since)
    return Traffic(
        minutes=MINUTES,
        predictions=sum(row[1] for row in counts),
        alerts=sum(row[2] for row in counts),
        request_only=sum(row[3] for row in counts),
        single=_latency([each for each in requests if each[0] == 1]),
        lists=_latency([each for each in requests if each[0] > 1]),
        by_minute=tuple(
            Minute(minute=datetime.fromisoformat(f"{row[0]}+00:00"), predictions=row[1], alerts=row[2])
            for row in counts
        ),
    )


def _requests(connection: sa.Connection, since: datetime) -> list[tuple[int, float]]:
    """How many entities each of the latest requests was for, and its latency.

    The rows of one request share the moment of writing and, to the last digit, the latency: that was measured from its
    receipt. Requests that were written together share the moment only.
    """
    table = database.predictions.c
    recent = sa.select(table.answered_at).where(table.answered_at >= since).order_by(table.answered_at.desc())
    first = connection.execute(recent.offset(MOST_ROWS - 1).limit(1)).scalar() or since
    together = (
        sa.select(sa.func.count(), table.latency_ms)
        .where(table.answered_at >= first)
        .group_by(table.answered_at, table.latency_ms)
    )
    return [(row[0], row[1]) for row in connection.execute(together)]


def _latency(requests: list[tuple[int, float]]) -> Latency:
    latencies = [latency for _, latency in requests]
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99]).tolist() if latencies else [None] * 3
    entities = sum(count for count, _ in requests)
    return Latency(requests=len(requests), entities=entities, p50_ms=p50, p95_ms=p95, p99_ms=p99)


def _reason(evidence: dict[str, Any]) -> str:
    """The evidence's own words, or what else it has, in one line."""
    said = (f"{name} {value}" for name, value in evidence.items() if name != database.CLOCK)
    return str(evidence.get("reason") or ", ".join(said))
