"""The service: `create_app(settings)` loads and verifies the live releases, and connects all parts.

Without a release that passes every check, the service does not start. /docs and /openapi.json describe the API.
"""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from ontime import database
from ontime.live_releases import LiveReleases
from ontime.redis_copy import RedisReader
from ontime.release import Manifest
from ontime.schema import WORDS
from ontime.settings import BadSettings, Settings
from serving import errors, metrics, protocol, routes
from serving.batcher import Batcher
from serving.key_watcher import ValidKeys
from serving.middleware import AccessMiddleware, required_scope
from serving.model_store import ModelStore, start_deadline
from serving.prediction_log import PredictionLog
from serving.spool import open_spool

if TYPE_CHECKING:
    from serving.tracing import Traces

# AnyIO's default of 40 is more than SQLAlchemy's pool has connections, each of which keeps a cache. More threads would
# not answer sooner: they wait for the interpreter lock.
QUERY_THREADS = 8
COLLECTED_AT_ONCE = 20_000  # objects; Python's default of 700 collects several times in each batch
CACHE_MB = 2  # of SQLite for each connection, of which there are several


class Shortcut:
    """Calls the endpoint of one busy route without the layers of Starlette and FastAPI.

    Endpoint and exception handlers are the same, so the app also works without it, only slower: see
    docs/decisions/11-server-and-json.md.
    """

    def __init__(self, app: ASGIApp, fastapi: FastAPI, path: str) -> None:
        self._app, self._fastapi, self._path = app, fastapi, path
        self._route = next(each for each in fastapi.routes if isinstance(each, APIRoute) and each.path == path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        # 2. Call the endpoint directly.
        scope["route"] = self._route
        request = Request(scope, receive)
        try:
            response = await self._route.endpoint(request)
        except Exception as error:
            handlers = self._fastapi.exception_handlers
            handler = next(handlers[each] for each in type(error).__mro__ if each in handlers)
            response = handler(request, error)
        await response(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """The service with the current release. Raises ReleaseRefused if it is missing or fails a check."""
    engine = database.open_engine(settings.database_url, settings.database_patience_seconds, CACHE_MB)
    if engine.dialect.name == "sqlite":  # a file of this machine: what is wrong with it now will be wrong later
        database.prepare(engine)
    with start_deadline():
        model_store = ModelStore(settings.releases, _measure_release)
    spool, redis = open_spool(settings.spool), RedisReader.of(settings)
    prediction_log = PredictionLog(engine, spool, redis, settings.spool_drain_seconds)
    batcher = Batcher(model_store, prediction_log)
    valid_keys = ValidKeys(settings.api_keys) if settings.api_keys else None
    traces = _traces(str(settings.traces_url)) if settings.traces_url else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = QUERY_THREADS
        prediction_log.start()
        model_store.start()
        batcher.start()
        if valid_keys is not None:
            valid_keys.start()
        # Objects that exist now live until the end: garbage collection would traverse them and delay every response.
        gc.freeze()
        gc.set_threshold(COLLECTED_AT_ONCE)
        gc.enable()
        yield
        if valid_keys is not None:
            valid_keys.stop()
        model_store.stop()
        await batcher.stop()
        await run_in_threadpool(prediction_log.stop)
        if traces is not None:
            await run_in_threadpool(traces.stop)

    # FastAPI's documentation pages load scripts from a CDN; routes.add_pages serves them without a network.
    app = FastAPI(
        title="ontime",
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # the middleware measures, at lower cost
    )
    app.router.redirect_slashes = False  # a redirect would lead to whatever host the request names
    app.state.model_store = model_store
    errors.add_handlers(app)
    routes.add_predictions(app, batcher, settings)
    routes.add_outcomes(app, model_store, engine, settings)
    routes.add_lookups(app, model_store, engine)
    routes.add_operations(app, model_store, prediction_log, settings)
    routes.add_pages(app)
    version_2 = protocol.router(model_store, prediction_log, settings.request_seconds)
    app.include_router(version_2)
    api_routes = [each for each in (*app.routes, *version_2.routes) if isinstance(each, APIRoute)]
    # Around FastAPI's layers, not within them, because each takes time.
    shortcut = Shortcut(app.build_middleware_stack(), app, "/v1/predictions")
    app.middleware_stack = AccessMiddleware(shortcut, api_routes, valid_keys, settings.requests_per_minute, traces)
    app.openapi = lambda: _document(app, model_store.live.champion.manifest, needs_key=valid_keys is not None)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


def _traces(url: str) -> "Traces":
    """Raises BadSettings if their packages are not installed."""
    try:
        from serving.tracing import Traces
    except ImportError as error:
        raise BadSettings(
            f"ONTIME_TRACES_URL={url}: {error.name} is not installed; build the image with `make image TRACES=1`"
        ) from None
    return Traces(url)


def _document(app: FastAPI, manifest: Manifest, *, needs_key: bool) -> dict[str, Any]:
    """FastAPI's OpenAPI document, with the question of the release and, if required, the scopes of the API keys."""
    question = manifest.question
    description = (
        f"{WORDS.title} {WORDS.definition.format(**question.terms)} A prediction uses data available "
        f"{question.terms['lead']} before the {WORDS.event}. "
        + (
            "The service requires an API key (`make key`): enter it with *Authorize*."
            if needs_key
            else "The service requires no API key, and accepts connections from this machine only."
        )
    )
    # Another release may answer another question.
    if app.openapi_schema is None or app.openapi_schema["info"]["description"] != description:
        document = get_openapi(
            title=app.title, version=app.version, description=description, routes=app.routes, tags=routes.TAGS
        )
        app.openapi_schema = document
        if not needs_key:
            return document
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        error = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if (scope := required_scope(method.upper(), path)) is None:
                    continue
                operation["security"] = [{"key": []}]
                operation["description"] = f"{operation.get('description', '')} Requires the scope `{scope}`.".strip()
                for status in (401, 403, 429):
                    operation["responses"][str(status)] = {"description": routes.ERRORS[status], "content": error}
    return app.openapi_schema


def _measure_release(live: LiveReleases, refusal: str | None) -> None:
    manifest = live.champion.manifest
    metrics.RELEASE_SINCE.set(live.since.timestamp())
    metrics.RELEASE_TRAINED_UNTIL.set((manifest.trained_until - date(1970, 1, 1)).total_seconds())
    metrics.RELEASE_REFUSED.set(refusal is not None)
