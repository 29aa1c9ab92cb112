"""The service: `create_app(settings)` verifies and loads the release, then answers for flights.

No release, or one that was tampered with: no service. The documents of the API are at /openapi.json.
"""

import logging
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from ontime import database, schema
from ontime.release import Release, load_current
from ontime.settings import Settings
from serving import examples, requests, scoring
from serving.answers import Alive, FeatureInfo, ModelInfo, Prediction, Problem, Ready, Refusal
from serving.requests import MOST_BYTES, Refused

logger = logging.getLogger(__name__)

REFUSALS: dict[int | str, dict[str, Any]] = {
    413: {"model": Refusal, "description": "the body is too large"},
    422: {"model": Refusal, "description": "something is wrong with the request; each problem has its place"},
    503: {"model": Refusal, "description": "the predictions cannot be kept now, so none is given"},
}


def create_app(settings: Settings) -> FastAPI:
    """The service on the current release. Raises ReleaseRefused where there is none that can be trusted."""
    release = load_current(settings.releases)
    engine = database.connect(settings.database_url.get_secret_value())
    scoring.warm_up(release)

    # FastAPI's pages of documentation load scripts from a CDN; this service needs no network.
    app = FastAPI(title="ontime", version=release.manifest.version, docs_url=None, redoc_url=None)
    app.add_exception_handler(Refused, _refuse)
    for failure in (sa.exc.DBAPIError, sa.exc.TimeoutError):
        app.add_exception_handler(failure, _database_away)

    @app.get("/", include_in_schema=False)
    def index() -> Mapping[str, str]:
        return {
            "predict": "POST /v1/predictions",
            "model": "GET /v1/model",
            "live": "GET /health/live",
            "ready": "GET /health/ready",
            "documents": "GET /openapi.json",
        }

    @app.post("/v1/predictions", responses=REFUSALS, openapi_extra=examples.REQUEST_BODY)
    async def predictions(request: Request) -> Prediction | list[Prediction]:
        """How likely one flight, or each of a list of up to 1000, is to arrive late."""
        arrived = perf_counter()
        return await run_in_threadpool(_answer_to, await _body(request), release, engine, arrived)

    @app.get("/v1/model")
    def model() -> ModelInfo:
        """What answers: its version, its threshold, its features, and where it came from."""
        manifest = release.manifest
        shared = manifest.model_dump(include=set(ModelInfo.model_fields) - {"features"})
        features = tuple(
            FeatureInfo(name=each.name, unit=each.unit, meaning=each.meaning, known=each.known.value)
            for each in schema.FEATURES
        )
        return ModelInfo(**shared, features=features)

    @app.get("/health/live")
    def live() -> Alive:
        """The process answers."""
        return Alive()

    @app.get("/health/ready", responses={503: REFUSALS[503]})
    def ready() -> Ready:
        """It can predict: the release is loaded and the database answers."""
        with engine.connect() as connection:
            # Not `SELECT 1`: SQLite answers that also from a file without tables.
            connection.execute(sa.select(database.predictions.c.prediction_id).limit(1))
        return Ready(model_version=release.manifest.version)

    return app


async def _body(request: Request) -> bytes:
    """The body, read no further than the limit. Raises Refused where the caller hangs up before its end."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                break
    except ClientDisconnect:
        raise Refused(422, Problem(place="body", reason="ended before its announced length")) from None
    return bytes(body)


def _answer_to(body: bytes, release: Release, engine: sa.Engine, arrived: float) -> Prediction | list[Prediction]:
    """An answer to one flight, a list to a list. Raises Refused."""
    flights, listed = requests.flights_in(body)
    answers = scoring.predict(flights, release, engine, arrived)
    return answers if listed else answers[0]


def _refuse(_: Request, refused: Exception) -> JSONResponse:
    assert isinstance(refused, Refused)  # noqa: S101  Starlette's signature, told to mypy
    return _answer(refused.status, refused.problems)


def _database_away(_: Request, failure: Exception) -> JSONResponse:
    logger.error("database: %s", str(failure).partition("\n")[0])  # the lines after it hold the rows
    return _answer(503, (Problem(place="database", reason="not available; try again"),))


def _answer(status: int, problems: tuple[Problem, ...]) -> JSONResponse:
    return JSONResponse(Refusal(detail=problems).model_dump(exclude_none=True), status_code=status)
