"""Around every request: who asks, how often, how much; and afterwards a line in the log and in the metrics.

Plain ASGI: every request passes here, and Starlette's BaseHTTPMiddleware makes a task of each.
"""

import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from math import ceil
from time import monotonic, perf_counter
from typing import Any
from uuid import uuid4

import orjson
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import metrics
from serving.answers import Problem, Refusal
from serving.keys import Key, digest
from serving.keys import Scope as Right

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"),
]
OPEN = ("/health/", "/static/", "/v2/health/")
OPEN_PAGES = frozenset({"/", "/ops", "/docs", "/openapi.json", "/v2", "/favicon.ico"})


def right_needed(method: str, path: str) -> Right | None:
    """What a key must allow; None for what everybody may see. What nobody thought of needs the highest right."""
    if path in OPEN_PAGES or path.startswith(OPEN):
        return None
    if path == "/v1/outcomes" and method == "POST":
        return Right.OUTCOMES
    if path.startswith(("/v1/", "/v2/")) and path != "/v1/ops":
        return Right.PREDICT
    return Right.ADMIN


class Bucket:
    """A token bucket: `per_minute` requests a minute, and a second's worth of them at once."""

    def __init__(self, per_minute: int) -> None:
        self._per_second = per_minute / 60
        self._most = max(1.0, self._per_second)
        self._tokens, self._at = self._most, monotonic()

    def seconds_to_wait(self) -> float:
        """0 for a request that may pass now."""
        now = monotonic()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_second
        self._tokens -= 1
        return 0.0


class Guard:
    def __init__(self, app: ASGIApp, keys: Mapping[str, Key] | None, requests_per_minute: int) -> None:
        """`keys` by digest; None asks nobody for a key, and counts nobody's requests."""
        self._app, self._keys = app, keys
        self._buckets = {key.name: Bucket(requests_per_minute) for key in keys.values()} if keys else {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, method = perf_counter(), 500, scope["method"]
        if method == "HEAD":  # every GET route answers it, without its body
            scope = {**scope, "method": "GET"}
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex.encode()

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS, (b"x-request-id", request_id)]
            elif method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        name, refusal = self._admit(scope, headers)
        try:
            if refusal is None:
                await self._app(scope, receive, send_guarded)
            else:
                await refusal(send_guarded)
        finally:
            _note(scope, method, status, perf_counter() - began, request_id, name)

    def _admit(self, scope: Scope, headers: Mapping[bytes, bytes]) -> tuple[str | None, Any]:
        """The name of the key, and what to answer in place of the application, if anything."""
        if self._keys is None:
            return None, None
        right = right_needed(scope["method"], scope["path"])
        if right is None:
            return None, None
        word, _, told = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        key = self._keys.get(digest(told)) if word.lower() == "bearer" else None
        if key is None:
            return None, _Refusal(401, "authorization", "needs `Bearer` and a key that is known here")
        if right not in key.scopes:
            return key.name, _Refusal(403, "authorization", f"this key may not do what needs the scope {right}")
        wait = self._buckets[key.name].seconds_to_wait()
        if wait:
            return key.name, _Refusal(429, "authorization", "too many requests with this key", wait)
        return key.name, None


class _Refusal:
    def __init__(self, status: int, place: str, reason: str, retry_after: float | None = None) -> None:
        self._status, self._retry_after = status, retry_after
        self._body = Refusal(detail=(Problem(place=place, reason=reason),)).model_dump_json(exclude_none=True).encode()

    async def __call__(self, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(self._body)).encode())]
        if self._status == HTTPStatus.UNAUTHORIZED:
            headers.append((b"www-authenticate", b"Bearer"))
        if self._retry_after is not None:
            headers.append((b"retry-after", str(ceil(self._retry_after)).encode()))
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


def _note(scope: Scope, method: str, status: int, seconds: float, request_id: bytes, key: str | None) -> None:
    """The route's template and not the path, which has no bound; neither bodies nor addresses nor keys."""
    route = getattr(scope.get("route"), "path", "other")
    count, time = _measures_of(route, status)
    count.inc()
    time.observe(seconds)
    line = {
        "at": datetime.now(UTC),
        "level": "info",
        "message": "request",
        "request_id": request_id.decode(),
        "method": method,
        "route": route,
        "status": status,
        "ms": round(1000 * seconds, 2),
        "key": key,
    }
    # Not through `logging`: a record of its own for each request showed in every profile.
    sys.stdout.write(orjson.dumps(line).decode() + "\n")


@cache
def _measures_of(route: str, status: int) -> tuple[Counter, Histogram]:
    """Kept, to find the labels once and not at each request."""
    return metrics.REQUESTS.labels(route, status), metrics.REQUEST_SECONDS.labels(route)


class JSONLines(logging.Formatter):
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
