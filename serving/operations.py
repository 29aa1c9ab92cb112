"""The state of the service: the data of the page /ops, and the notes of /health/ready."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from ontime import database, database_tables, release, release_pointer
from ontime.counts import counted
from ontime.live_releases import LiveReleases
from ontime.release import ReleaseRefused
from ontime.release_pointer import Pointer
from ontime.settings import Settings
from ontime.unfinished_retrainings import unfinished_retrainings
from serving import threads
from serving.links import current_links
from serving.metrics import MonitorMetrics
from serving.model_store import ModelStore
from serving.monitoring_status import monitoring_notes
from serving.operations_responses import (
    ChallengerState,
    DecisionRecord,
    Latency,
    Minute,
    Operations,
    ReleaseState,
    Traffic,
)
from serving.prediction_log import PredictionLog

MAX_LATENCY_ROWS = 10_000
TRAFFIC_MINUTES = 60
MAX_DECISIONS = 20
FEED_CLOCK_KINDS = ("monitor", "policy", "retraining", "retrained")  # rows of older versions do not name their clock
EPOCH = date(1970, 1, 1)


def overview(model_store: ModelStore, prediction_log: PredictionLog, settings: Settings) -> Operations:
    """The data of the page /ops; while the database is down, everything that is not read from it."""
    releases = settings.releases
    pointer, live = release_pointer.read_pointer(releases), model_store.live
    live_version = live.champion.manifest.version
    database_up = prediction_log.database_error is None
    if database_up:
        prediction_log.read_monitoring()
    return Operations(
        answering=live_version,
        ready=prediction_log.objection is None,
        notes=health_notes(model_store, prediction_log),
        challenger=_challenger_state(live),
        monitored=prediction_log.monitoring,
        retraining_asked_at=_retraining_requested_at(prediction_log.engine) if database_up else None,
        releases=tuple(_state(releases, each, live_version, pointer) for each in reversed(release.published(releases))),
        traffic=recent_traffic(prediction_log.engine) if database_up else None,
        decisions=_decisions(prediction_log.engine) if database_up else (),
        links=current_links(settings.links, settings.ui_links),
    )


def _challenger_state(live: LiveReleases) -> ChallengerState | None:
    if live.challenger is None:
        return None
    return ChallengerState(version=live.challenger.manifest.version, share=live.challenger_share)


def _decisions(engine: sa.Engine) -> tuple[DecisionRecord, ...]:
    return tuple(
        DecisionRecord(
            decided_at=row.decided_at,
            clock="feed" if _is_on_feed_clock(row) else "real",
            kind=row.kind,
            verdict=row.verdict,
            reason=_reason(row.evidence),
        )
        for row in database.latest_decisions(engine, MAX_DECISIONS)
    )


def _is_on_feed_clock(row: sa.Row[Any]) -> bool:
    return row.kind in FEED_CLOCK_KINDS or row.evidence.get(database.CLOCK) == database.FEED


def latest_monitor_metrics(prediction_log: PredictionLog) -> MonitorMetrics | None:
    """None before the first run of the monitor, and while the database is down."""
    if prediction_log.database_error is not None:
        return None
    try:
        row = database.last_decision(prediction_log.engine, "monitor")
        requested_at = _retraining_requested_at(prediction_log.engine)
    except sa.exc.SQLAlchemyError:  # a scrape must not fail; the prediction log notices the error by itself
        return None
    return (
        MonitorMetrics(row.decided_at, row.evidence["figures"], row.evidence["alerts"], requested_at) if row else None
    )


def last_backup_seconds(prediction_log: PredictionLog) -> float | None:
    """The Unix time of the last backup; None if there is none, and while the database is down."""
    if prediction_log.database_error is not None:
        return None
    try:
        row = database.last_decision(prediction_log.engine, "backup")
    except sa.exc.SQLAlchemyError:  # as above
        return None
    return row.decided_at.timestamp() if row else None


def _retraining_requested_at(engine: sa.Engine) -> datetime | None:
    """Of the oldest retraining, by the policy or by hand, that has not finished; None if there is none."""
    return min((row.decided_at for row in unfinished_retrainings(engine)), default=None)


def health_notes(model_store: ModelStore, prediction_log: PredictionLog) -> tuple[str, ...]:
    """Problems that do not stop the service, as sentences. They are public, so they name no path and no address."""
    notes = []
    if model_store.refusal is not None:
        notes.append("the newest release was refused; the previous one stays live (the log has the reason)")
    if model_store.challenger_refusal is not None:
        notes.append("the challenger was refused; the champion serves all traffic (the log has the reason)")
    if prediction_log.refusal is not None:
        notes.append(f"the service returns no prediction: {prediction_log.refusal}")
    elif prediction_log.database_error is not None:
        spooled = counted(len(prediction_log.spool), "prediction is", "predictions are")
        notes.append(f"the database is down: {spooled} in the spool")
    elif waiting := len(prediction_log.spool):
        written = counted(waiting, "prediction of the spool is", "predictions of the spool are")
        notes.append(f"{written} being written to the database")
    if prediction_log.spool_error is not None:
        notes.append("neither the database nor the spool accepts predictions, so the service returns none")
    return (*notes, *threads.notes(), *monitoring_notes(prediction_log.monitoring))


def _state(releases: Path, version: str, live_version: str, pointer: Pointer | None) -> ReleaseState:
    try:
        manifest, state = release.verify(releases / version), "on standby"
    except ReleaseRefused:
        return ReleaseState(
            version=version, algorithm="unknown", trained_from=EPOCH, trained_until=EPOCH, state="refused"
        )
    if version == live_version:
        state = "live"
    elif pointer and pointer.challenger and pointer.challenger.version == version:
        state = "challenger"
    elif pointer and version in pointer.rolled_back:
        state = "rolled back"
    fields = manifest.model_dump(include={"version", "algorithm", "trained_from", "trained_until"})
    return ReleaseState.model_validate({**fields, "state": state})


def recent_traffic(engine: sa.Engine) -> Traffic:
    now = datetime.now(UTC)
    since, this_minute = now - timedelta(minutes=TRAFFIC_MINUTES), now.replace(second=0, microsecond=0)
    minutes = [this_minute - timedelta(minutes=count) for count in range(TRAFFIC_MINUTES, -1, -1)]
    with engine.connect() as connection:
        ends = [*minutes[1:], now + timedelta(days=1)]  # rows of a machine whose clock is ahead belong to this minute
        ranges = zip((since, *minutes[1:]), ends, strict=True)
        counts = [connection.execute(COUNT_MINUTE, {"start": start, "end": end}).one() for start, end in ranges]
        requests = _requests(connection, since)
    return Traffic(
        minutes=TRAFFIC_MINUTES,
        predictions=sum(row.predictions for row in counts),
        alerts=sum(row.alerts for row in counts),
        request_only=sum(row.request_only for row in counts),
        single=_latency([each for each in requests if each[0] == 1]),
        lists=_latency([each for each in requests if each[0] > 1]),
        by_minute=tuple(
            Minute(minute=minute, predictions=row.predictions, alerts=row.alerts)
            for minute, row in zip(minutes, counts, strict=True)
            if row.predictions
        ),
    )


def _select_counts() -> sa.Select[Any]:
    """The predictions from `start` to `end`: one range of an index that has all three columns.

    Grouping a whole hour by minute would sort its rows first.
    """
    table = database_tables.predictions.c
    request_only = sa.case((table.features == "request", 1), else_=0)
    alert = sa.case((table.alert, 1), else_=0)
    return sa.select(
        sa.func.count().label("predictions"),
        sa.func.coalesce(sa.func.sum(alert), 0).label("alerts"),
        sa.func.coalesce(sa.func.sum(request_only), 0).label("request_only"),
    ).where(table.answered_at >= sa.bindparam("start"), table.answered_at < sa.bindparam("end"))


COUNT_MINUTE = _select_counts()


def _requests(connection: sa.Connection, since: datetime) -> list[tuple[int, float]]:
    """Number of entities and latency in ms of each of the latest requests.

    The rows of one request have the same time of writing and exactly the same latency, which is measured from the
    receipt of the request. Requests of one batch have only the time of writing in common.
    """
    table = database_tables.predictions.c
    recent = sa.select(table.answered_at).where(table.answered_at >= since).order_by(table.answered_at.desc())
    first = connection.execute(recent.offset(MAX_LATENCY_ROWS - 1).limit(1)).scalar() or since
    by_request = (
        sa.select(sa.func.count(), table.latency_ms)
        .where(table.answered_at >= first)
        .group_by(table.answered_at, table.latency_ms)
    )
    return [(row[0], row[1]) for row in connection.execute(by_request)]


def _latency(requests: list[tuple[int, float]]) -> Latency:
    latencies = [latency for _, latency in requests]
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99]).tolist() if latencies else [None] * 3
    entities = sum(count for count, _ in requests)
    return Latency(requests=len(requests), entities=entities, p50_ms=p50, p95_ms=p95, p99_ms=p99)


def _reason(evidence: dict[str, Any]) -> str:
    """The evidence's own words, or what else it has, in one line."""
    values = (f"{name} {value}" for name, value in evidence.items() if name != database.CLOCK)
    return str(evidence.get("reason") or ", ".join(values))
