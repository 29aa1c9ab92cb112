"""What Prometheus reads at /metrics: counts, times, and the state of everything that can go wrong.

With several workers `PROMETHEUS_MULTIPROC_DIR` is set (see `__main__`), and every worker tells of all.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

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

__all__ = ["CONTENT_TYPE_LATEST", "exposition"]

# From 50 microseconds to 5 seconds: scoring takes less than a millisecond, a bad day more than one second.
SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
TENTHS = tuple(tenth / 10 for tenth in range(1, 10))
HOURS = tuple(3600.0 * hours for hours in (0.25, 1, 2, 3, 6, 12, 24, 48, 24 * 30, 24 * 365))

REQUESTS = Counter("ontime_requests", "Answered requests", ["route", "status"])
REQUEST_SECONDS = Histogram(
    "ontime_request_seconds", "From a request's first byte to its answer", ["route"], buckets=SECONDS
)
STAGE_SECONDS = Histogram(
    "ontime_stage_seconds", "One batch of entities at one stage: lookup, score, commit", ["stage"], buckets=SECONDS
)
BATCH_ENTITIES = Histogram(
    "ontime_batch_entities",
    "Entities that were scored and committed together",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
PREDICTIONS = Counter("ontime_predictions", "Answered entities", ["model_version", "alert"])
PROBABILITY = Histogram("ontime_probability", "Answered probabilities", ["model_version"], buckets=TENTHS)
FEATURE_AGE = Histogram(
    "ontime_feature_age_seconds", "From the moment of an entity's features to its answer", buckets=HOURS
)
MISSING_FEATURES = Histogram(
    "ontime_missing_features_share", "Share of an entity's features that are not known", buckets=TENTHS
)
WITHOUT_FEATURES = Counter("ontime_predictions_without_features", "Entities answered from their schedule alone")
SHADOWS = Counter(
    "ontime_shadow_predictions", "Entities that the other model scored off the answer's path", ["model_version"]
)
SHADOWS_LOST = Counter("ontime_shadow_predictions_lost", "Entities that were not, because there were too many")
SPOOL_ROWS = Gauge("ontime_spool_predictions", "Predictions that wait for the database", multiprocess_mode="livesum")
DATABASE_AWAY = Gauge("ontime_database_away", "1 while predictions go to the spool", multiprocess_mode="livemax")
RELEASE_SINCE = Gauge(
    "ontime_release_since_seconds", "When this release began to answer here, Unix time", multiprocess_mode="livemin"
)
RELEASE_TRAINED_UNTIL = Gauge(
    "ontime_release_trained_until_seconds",
    "End of what the model was trained on, Unix time",
    multiprocess_mode="livemin",
)
RELEASE_REFUSED = Gauge(
    "ontime_release_refused", "1 while the pointer names a release that was refused", multiprocess_mode="livemax"
)


class Verdict(NamedTuple):
    """What the monitor said of the last day it looked at; it runs elsewhere, and leaves its word in the database."""

    decided_at: datetime
    figures: Mapping[str, float | None]
    alerts: Sequence[Mapping[str, Any]]  # each with name, tier, value
    retraining_asked_at: datetime | None  # of the retraining that has not been finished; None: none waits


def exposition(verdict: Verdict | None) -> bytes:
    """All metrics in Prometheus' text format, of every worker; and the monitor's, where it has said something."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry) + (b"" if verdict is None else generate_latest(_monitored(verdict)))


def _monitored(verdict: Verdict) -> CollectorRegistry:
    """Gauges of this very answer: whichever worker is asked, they say the same."""
    registry = CollectorRegistry()
    Gauge(
        "ontime_monitored_until_seconds",
        "End of the last day that the monitor looked at, Unix time on the feed's clock",
        registry=registry,
    ).set(verdict.decided_at.timestamp())
    figures = Gauge("ontime_figure", "What the monitor measured that day", ["figure"], registry=registry)
    for name, value in verdict.figures.items():
        if value is not None:
            figures.labels(name).set(value)
    alerts = Gauge("ontime_alert", "Figures that are over their limit: 1 page, 2 retrain, 3 report", ["figure", "tier"],
                   registry=registry)  # fmt: skip
    for alert in verdict.alerts:
        alerts.labels(alert["name"], str(alert["tier"])).set(1)
    if verdict.retraining_asked_at is not None:
        Gauge(
            "ontime_retraining_asked_seconds",
            "When the retraining that is not finished yet was asked for, Unix time on the feed's clock",
            registry=registry,
        ).set(verdict.retraining_asked_at.timestamp())
    return registry
