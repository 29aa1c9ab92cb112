"""One line of JSON and the metrics of each request; the service's other log lines in the same format."""

import logging
import sys
from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson
from prometheus_client import Counter, Histogram
from starlette.types import Scope

from serving import metrics

# Rejected in microseconds by the middleware: a flood of them would hide slow responses.
WITHOUT_ACCESS = (401, 403, 429)


def log_request(
    scope: Scope, method: str, status: int, seconds: float, request_id: bytes, key_name: str | None
) -> None:
    """Logs the template of the route, because paths are unbounded; no body, no address and no key."""
    route = route_of(scope)
    requests, durations = _metrics_of(route, status)
    requests.inc()
    if status not in WITHOUT_ACCESS:
        durations.observe(seconds)
    line = {
        "at": datetime.now(UTC),
        "level": "info",
        "message": "request",
        "request_id": request_id.decode(),
        "method": method,
        "route": route,
        "status": status,
        "ms": round(1000 * seconds, 2),
        "key": key_name,
    }
    # Not with `logging`: creating a log record per request was visible in every profile.
    sys.stdout.write(orjson.dumps(line).decode() + "\n")


def route_of(scope: Scope) -> str:
    """The template of the route; `other` for a path without one."""
    return str(getattr(scope.get("route"), "path", "other"))


@cache
def _metrics_of(route: str, status: int) -> tuple[Counter, Histogram]:
    """Cached, because `labels` is slow."""
    return metrics.REQUESTS.labels(route, status), metrics.REQUEST_SECONDS.labels(route)


class JSONFormatter(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802  logging's signature
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
