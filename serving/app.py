"""The service: `create_app(settings)` verifies and loads the release, then answers for entities.

No release, or one that was tampered with: no service. The API is described at /docs and /openapi.json.
"""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from ontime import database
from ontime.release import Manifest
from ontime.schema import WORDS
from ontime.settings import Settings
from serving import failures, keys, metrics, protocol, routes
from serving.desk import Desk
from serving.guard import Guard, right_needed
from serving.keeping import Keeper
from serving.live import Live, Serving
from serving.spool import Spool


class Shortcut:
    """Takes one busy route around Starlette's and FastAPI's layers: see docs/decisions/11-server-and-json.md.

    The same endpoint, and the same handlers of errors: without this, all works as well, only slower.
    """

    def __init__(self, app: ASGIApp, owner: FastAPI, path: str) -> None:
        self._app, self._owner, self._path = app, owner, path
        self._route = next(each for each in owner.routes if isinstance(each, APIRoute) and each.path == path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        request = Request(scope, receive)
        try:
            response = await self._route.endpoint(request)
        except Exception as error:
            handlers = self._owner.exception_handlers
            handler = next(handlers[kind] for kind in type(error).__mro__ if kind in handlers)
            response = handler(request, error)
        await response(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """The service on the current release. Raises ReleaseRefused where there is none that can be trusted."""
    engine = database.connect(settings.database_url, settings.database_patience_seconds)
    live = Live(settings.releases, _measure_release)
    keeper = Keeper(engine, Spool(settings.spool))
    desk = Desk(live, keeper)
    known = keys.read(settings.api_keys).by_digest() if settings.api_keys else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        keeper.start()
        live.start()
        desk.start()
        # All that exists by now stays: a collection that looked through it would hold up every answer.
        gc.freeze()
        gc.enable()
        yield
        live.stop()
        await desk.stop()
        await run_in_threadpool(keeper.stop)

    # FastAPI's pages of documentation load scripts from a CDN; this service needs no network: see routes.add_pages.
    app = FastAPI(
        title="ontime",
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # the guard measures, for less
    )
    app.state.live = live
    failures.add_handlers(app)
    routes.add_predictions(app, desk, settings)
    app.add_middleware(Shortcut, owner=app, path="/v1/predictions")
    app.add_middleware(Guard, keys=known, requests_per_minute=settings.requests_per_minute)
    routes.add_outcomes(app, live, engine, settings)
    routes.add_lookups(app, live, engine)
    routes.add_operations(app, live, keeper, settings)
    routes.add_pages(app)
    app.include_router(protocol.router_of(live, keeper, settings.request_seconds))
    app.openapi = lambda: _document(app, live.serving.champion.manifest)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


def _document(app: FastAPI, manifest: Manifest) -> dict[str, Any]:
    """FastAPI's document, with what the release is asked and the keys that the guard asks for."""
    question = manifest.question
    description = (
        f"{WORDS.title} {WORDS.definition.format(**question.terms)} An answer rests on what is known "
        f"{question.terms['lead']} before the {WORDS.event}. "
        "Where the service asks for a key (`make key`), *Authorize* takes it."
    )
    # Another release may be asked something else.
    if app.openapi_schema is None or app.openapi_schema["info"]["description"] != description:
        document = get_openapi(
            title=app.title, version=app.version, description=description, routes=app.routes, tags=routes.TAGS
        )
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if (right := right_needed(method.upper(), path)) is None:
                    continue
                operation["security"] = [{"key": []}]
                operation["description"] = f"{operation.get('description', '')} Needs the scope `{right}`.".strip()
                for status in (401, 403, 429):
                    operation["responses"][str(status)] = {"description": routes.REFUSALS[status], "content": refusal}
        app.openapi_schema = document
    return app.openapi_schema


def _measure_release(serving: Serving, refused: str | None) -> None:
    manifest = serving.champion.manifest
    metrics.RELEASE_SINCE.set(serving.since.timestamp())
    metrics.RELEASE_TRAINED_UNTIL.set((manifest.trained_until - date(1970, 1, 1)).total_seconds())
    metrics.RELEASE_REFUSED.set(refused is not None)
