"""Middleware around every request: authentication, rate limit, response headers, request ID, access log.

Plain ASGI, because Starlette's BaseHTTPMiddleware starts a task per request.
"""

import os
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil
from time import monotonic, perf_counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ontime.settings import is_loopback
from serving import access_log
from serving.key_watcher import ValidKeys
from serving.keys import KeyScope, key_digest
from serving.responses import ErrorDetail, ErrorResponse

if TYPE_CHECKING:  # its packages are optional
    from serving.tracing import RequestTrace, Traces

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"),
]
PUBLIC_PREFIXES = ("/health/", "/static/", "/v2/health/")
PUBLIC_PATHS = frozenset({"/", "/ops", "/docs", "/openapi.json", "/v2", "/favicon.ico"})


def required_scope(method: str, path: str) -> KeyScope | None:
    """The scope that a key needs; None for a public path. A path without a rule needs `admin`.

    >>> required_scope("POST", "/v1/predictions")
    <KeyScope.PREDICT: 'predict'>
    >>> required_scope("GET", "/metrics")
    <KeyScope.ADMIN: 'admin'>
    >>> required_scope("GET", "/health/ready") is None
    True
    """
    if path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES):
        return None
    if path == "/v1/outcomes" and method == "POST":
        return KeyScope.OUTCOMES
    if path.startswith(("/v1/", "/v2/")) and path != "/v1/ops":
        return KeyScope.PREDICT
    return KeyScope.ADMIN


class TokenBucket:
    """A rate limit of `per_minute` requests; a burst may use the tokens of one second."""

    def __init__(self, per_minute: int) -> None:
        self._per_second = per_minute / 60
        self._capacity = max(1.0, self._per_second)
        self._tokens, self._updated_at = self._capacity, monotonic()

    def seconds_to_wait(self) -> float:
        """Take a token and return 0, or return the time until there is one."""
        now = monotonic()
        self._tokens = min(self._capacity, self._tokens + (now - self._updated_at) * self._per_second)
        self._updated_at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_second
        self._tokens -= 1
        return 0.0


class AccessMiddleware:
    def __init__(
        self,
        app: ASGIApp,
        routes: Sequence[BaseRoute],
        keys: ValidKeys | None,
        requests_per_minute: int,
        traces: "Traces | None" = None,
    ) -> None:
        """`keys`: None means no authentication and no rate limit. `traces`: None means none."""
        self._routes = routes
        self._app, self._keys, self._traces, self._requests_per_minute = app, keys, traces, requests_per_minute
        self._buckets: dict[str, TokenBucket] = {}  # by name, so that a replaced key has no second limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_at, status, method = perf_counter(), 500, scope["method"]
        request_trace: RequestTrace | None = None
        if method == "HEAD":  # every GET route accepts it, and responds without a body
            scope = {**scope, "method": "GET"}
        headers = dict(scope["headers"])
        client_id = headers.get(b"x-request-id", b"")
        request_id = client_id if REQUEST_ID.fullmatch(client_id) else b""
        if self._traces is not None:
            request_trace = self._traces.begin(scope["path"], headers, request_id.decode())
        if request_trace is not None:
            scope["on_batch"] = request_trace.record
            request_id = request_id or request_trace.trace_id.encode()
        request_id = request_id or os.urandom(16).hex().encode()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS, (b"x-request-id", request_id)]
            elif method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        # 1. Authenticate the request, and apply the rate limit of its key.
        key_name, error = self._authorize(scope, headers)
        scope["caller"] = key_name or str(scope.get("client"))  # without keys, a connection
        try:
            if error is None:
                await self._app(scope, receive, send_with_headers)
            else:
                self._set_route(scope)
                await error(send_with_headers)
        finally:
            # 11. Record the request in the access log and in the metrics.
            seconds = perf_counter() - started_at
            access_log.log_request(scope, method, status, seconds, request_id, key_name)
            if self._traces is not None and request_trace is not None:
                route = access_log.route_of(scope)
                self._traces.end(request_trace, method, route, status, request_id.decode(), seconds)

    def _set_route(self, scope: Scope) -> None:
        """For metrics and log of a request without access, which does not reach the router."""
        for route in self._routes:
            match, _ = route.matches(scope)
            if match is not Match.NONE:
                scope["route"] = route
                return

    def _authorize(self, scope: Scope, headers: Mapping[bytes, bytes]) -> "tuple[str | None, _ErrorSender | None]":
        """The name of the key, and the response to send instead of the application's, if any."""
        if self._keys is None:
            return None, _ErrorSender(403, "header", reason) if (reason := _foreign(scope["method"], headers)) else None
        required = required_scope(scope["method"], scope["path"])
        if required is None:
            return None, None
        scheme, _, credentials = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        key = self._keys.by_digest.get(key_digest(credentials)) if scheme.lower() == "bearer" else None
        if key is None:
            return None, _ErrorSender(401, "authorization", "must be `Bearer` and a valid API key")
        if required not in key.scopes:
            return key.name, _ErrorSender(403, "authorization", f"this key lacks the scope {required}")
        bucket = self._buckets.get(key.name)
        if bucket is None:
            bucket = self._buckets[key.name] = TokenBucket(self._requests_per_minute)
        wait = bucket.seconds_to_wait()
        if wait:
            return key.name, _ErrorSender(429, "authorization", "too many requests with this key", wait)
        return key.name, None


def _foreign(method: str, headers: Mapping[bytes, bytes]) -> str | None:
    """Why a browser sends this request for another site; None if it does not. Only browsers send these headers.

    Without keys, any page that is open in a browser of this machine could otherwise send outcomes, or read predictions
    under a name that it lets resolve to 127.0.0.1.
    """
    origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
    if origin is None and site is None:
        return None
    host = headers.get(b"host", b"").decode("latin-1")
    if not is_loopback(urlsplit(f"//{host}").hostname or ""):
        return "host must be localhost or 127.0.0.1, because this service has no API keys"
    if method not in ("GET", "HEAD") and (
        site not in (None, b"same-origin", b"none") or origin not in (None, f"http://{host}".encode("latin-1"))
    ):
        return "origin must be this service, because it has no API keys"
    return None


class _ErrorSender:
    """An error response that is sent by the middleware."""

    def __init__(self, status: int, place: str, reason: str, retry_after_seconds: float | None = None) -> None:
        self._status, self._retry_after_seconds = status, retry_after_seconds
        response = ErrorResponse(detail=(ErrorDetail(place=place, reason=reason),))
        self._body = response.model_dump_json(exclude_none=True).encode()

    async def __call__(self, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(self._body)).encode())]
        if self._status == HTTPStatus.UNAUTHORIZED:
            headers.append((b"www-authenticate", b"Bearer"))
        if self._retry_after_seconds is not None:
            headers.append((b"retry-after", str(ceil(self._retry_after_seconds)).encode()))
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})
