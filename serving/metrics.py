"""The Prometheus metrics of the service, for GET /metrics.

With several workers `PROMETHEUS_MULTIPROC_DIR` is set (see `server.py`), and each worker returns the sum of all.
"""

import os
from bisect import bisect_left
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from time import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from ontime.online_store import Stored

__all__ = ["CONTENT_TYPE_LATEST", "exposition"]

# From 50 microseconds to 5 seconds: scoring takes less than a millisecond, an overloaded service more than a second.
SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
SHARES = tuple(tenth / 10 for tenth in range(1, 10))
AGES_SECONDS = tuple(3600.0 * hours for hours in (0.25, 1, 2, 3, 6, 12, 24, 48, 24 * 30, 24 * 365))

REQUESTS = Counter("ontime_requests", "Requests with a response", ["route", "status"])
REQUEST_SECONDS = Histogram(
    "ontime_request_seconds", "From the first byte of a request to its response", ["route"], buckets=SECONDS
)
STAGE_SECONDS = Histogram(
    "ontime_stage_seconds", "Time of one batch in one stage: lookup, score, commit", ["stage"], buckets=SECONDS
)
BATCH_ENTITIES = Histogram(
    "ontime_batch_entities",
    "Entities per batch",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
PREDICTIONS = Counter("ontime_predictions", "Predictions", ["model_version", "alert"])
PROBABILITY = Histogram("ontime_probability", "Predicted probabilities", ["model_version"], buckets=SHARES)
FEATURE_AGE = Histogram(
    "ontime_feature_age_seconds", "Age of the features at the time of the prediction", buckets=AGES_SECONDS
)
MISSING_FEATURES = Histogram("ontime_missing_features_share", "Share of missing features per entity", buckets=SHARES)
WITHOUT_FEATURES = Counter("ontime_predictions_without_features", "Predictions without a row in the online store")
SHADOWS = Counter("ontime_shadow_predictions", "Shadow predictions that were stored", ["model_version"])
SHADOWS_LOST = Counter("ontime_shadow_predictions_lost", "Shadow predictions that were dropped")
SPOOL_ROWS = Gauge("ontime_spool_predictions", "Predictions in the spool", multiprocess_mode="livesum")
SPOOL_OLDEST = Gauge(
    "ontime_spool_oldest_seconds",
    "Age of the oldest prediction in the spool, 0 without one",
    multiprocess_mode="livemax",
)
READY = Gauge(
    "ontime_ready", "1 while /health/ready responds 200, 0 while it responds 503", multiprocess_mode="livemin"
)
DATABASE_REFUSES = Gauge(
    "ontime_database_refuses",
    "1 while the database refuses statements, because of its tables or the rights of its user",
    multiprocess_mode="livemax",
)
DATABASE_UNAVAILABLE = Gauge("ontime_database_unavailable", "1 while the database is down", multiprocess_mode="livemax")
LOOK_UPS = Counter(
    "ontime_looked_up_entities", "Entities looked up while a Redis server is set, by what had to be asked", ["store"]
)
REDIS_UNAVAILABLE = Gauge(
    "ontime_redis_unavailable", "1 while look-ups ask the database because Redis fails", multiprocess_mode="livemax"
)
LOG_LINES_DROPPED = Counter("ontime_log_lines_dropped", "Lines of the log that its reader did not take in time")
RELEASE_SINCE = Gauge(
    "ontime_release_since_seconds",
    "When this process loaded the release that it serves, Unix time: at its start, or when it followed the pointer",
    multiprocess_mode="livemin",
)
RELEASE_TRAINED_UNTIL = Gauge(
    "ontime_release_trained_until_seconds",
    "End of the training period, Unix time",
    multiprocess_mode="livemin",
)
RELEASE_REFUSED = Gauge(
    "ontime_release_refused", "1 while the pointer refers to a release that was refused", multiprocess_mode="livemax"
)

THREAD_FAILURES = Counter("ontime_thread_failures", "Errors that ended a thread, which was restarted", ["thread"])
THREAD_STUCK = Gauge(
    "ontime_thread_stuck", "1 while a thread does not finish its step", ["thread"], multiprocess_mode="livemax"
)

# A counter that first appears with its first error shows no increase: rate() and increase() need the 0 before it.
for _status in (200, 401, 403, 422, 429, 500, 503):
    REQUESTS.labels("/v1/predictions", _status)

LOOK_UP, SCORE, COMMIT = (STAGE_SECONDS.labels(stage) for stage in ("lookup", "score", "commit"))


def count_batch(
    moments: Sequence[tuple[float, float, float]],
    commit_s: float,
    stored: Sequence[Stored | None],
    predictions: Sequence[Mapping[str, Any]],
    matrix: NDArray[np.float32],
) -> None:
    """Count the predictions of a batch.

    `moments` of each part: start, look-up, and end of scoring. `stored`: each entity's row of the online store.
    """
    for started_at, looked_up_at, scored_at in moments:
        LOOK_UP.observe(looked_up_at - started_at)
        SCORE.observe(scored_at - looked_up_at)
    COMMIT.observe(commit_s)
    BATCH_ENTITIES.observe(len(predictions))
    probabilities: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for prediction in predictions:
        probabilities[prediction["model_version"], prediction["alert"]].append(prediction["probability"])
    for (version, alert), values in probabilities.items():
        counter, histogram = _metrics_of(version, alert)
        counter.inc(len(values))
        observe_all(histogram, values)
    missing = np.count_nonzero(np.isnan(matrix), axis=1) / matrix.shape[1]
    observe_all(MISSING_FEATURES, missing.tolist())
    now = time()
    ages = [max(0.0, now - each.moment.timestamp()) for each in stored if each is not None]
    observe_all(FEATURE_AGE, ages)
    WITHOUT_FEATURES.inc(len(stored) - len(ages))


@lru_cache(maxsize=16)
def _metrics_of(version: str, alert: bool) -> tuple[Counter, Histogram]:
    """Cached, because `labels` is slow."""
    return PREDICTIONS.labels(version, str(alert).lower()), PROBABILITY.labels(version)


def observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """As `histogram.observe` of each value, but faster: a list of 1000 entities has 3000 values."""
    buckets = Tally(bisect_left(histogram._upper_bounds, value) for value in values)
    for bucket, count in buckets.items():
        histogram._buckets[bucket].inc(count)
    histogram._sum.inc(sum(values))


class MonitorMetrics(NamedTuple):
    """The monitor's result for its last day; the monitor is another process, which writes it to the database."""

    decided_at: datetime
    figures: Mapping[str, float | None]
    alerts: Sequence[Mapping[str, Any]]  # each with name, tier, value
    retraining_requested_at: datetime | None  # None: no retraining is pending


def exposition(monitor: MonitorMetrics | None, mirrored_at: float | None, backed_up_at: float | None) -> bytes:
    """The metrics of all workers, and those of monitor, mirror and backup if they have run, in Prometheus' text format.

    `mirrored_at`, `backed_up_at`: when the last one succeeded, Unix time.
    """
    registry = REGISTRY
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        _keep_gauges_of_workers(Path(folder))
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry) + generate_latest(_registry_of_others(monitor, mirrored_at, backed_up_at))


def _keep_gauges_of_workers(folder: Path) -> None:
    """Delete the gauges of workers that have died, and of the supervisor, which loads a release to check it."""
    for path in folder.glob("gauge_live*.db"):
        process = int(path.stem.rpartition("_")[2])
        if process == os.getppid() or not _runs(process):
            multiprocess.mark_process_dead(process)  # type: ignore[no-untyped-call]


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _registry_of_others(
    monitor: MonitorMetrics | None, mirrored_at: float | None, backed_up_at: float | None
) -> CollectorRegistry:
    """A registry for one response, so that the values do not depend on the worker."""
    registry = CollectorRegistry()
    if backed_up_at is not None:
        Gauge("ontime_backup_succeeded_seconds", "When the last backup succeeded, Unix time", registry=registry).set(
            backed_up_at
        )
    if mirrored_at is not None:
        Gauge(
            "ontime_mirror_succeeded_seconds",
            "When the mirror last compared the releases with the store, Unix time",
            registry=registry,
        ).set(mirrored_at)
    if monitor is not None:
        _add_monitor(registry, monitor)
    return registry


def _add_monitor(registry: CollectorRegistry, monitor: MonitorMetrics) -> None:
    Gauge(
        "ontime_monitored_until_seconds",
        "End of the monitor's last day, Unix time on the feed's clock",
        registry=registry,
    ).set(monitor.decided_at.timestamp())
    figures = Gauge("ontime_monitor_metric", "Daily metrics of the monitor", ["metric"], registry=registry)
    for name, value in monitor.figures.items():
        if value is not None:
            figures.labels(name).set(value)
    alerts = Gauge(
        "ontime_alert",
        "1 for each metric over its limit; tier 1: page, 2: retrain, 3: report",
        ["metric", "tier"],
        registry=registry,
    )
    for alert in monitor.alerts:
        alerts.labels(alert["name"], str(alert["tier"])).set(1)
    if monitor.retraining_requested_at is not None:
        Gauge(
            "ontime_retraining_requested_timestamp_seconds",
            "Time of the request for a retraining that has not finished, Unix time on the feed's clock",
            registry=registry,
        ).set(monitor.retraining_requested_at.timestamp())
