"""The routes: each parses a request, calls one part of the service, and returns a response.

The steps of a prediction request have numbered comments where they happen:

1. authentication and rate limit (`middleware.py`)
2. the shortcut to the route (`app.py`)
3. reading and parsing the body; a list first waits for its turn (here, `admission.py` and `parsing.py`)
4. waiting for the next batch (`batcher.py`)
5. the look-up in the online store (`batcher.py`, through `prediction_log.py`)
6. scoring by champion or challenger (`batcher.py`, in `scoring.py`)
7. building the predictions (`batcher.py`, in `scoring.py`)
8. the commit to the prediction log (`batcher.py`, in `prediction_log.py`)
9. handing the predictions to the waiting requests (`batcher.py`)
10. serialising the response (here)
11. access log and metrics (`middleware.py`, in `access_log.py`)

A shadow release scores the batch after step 8, in a thread of its own (`shadow.py`).
"""

from asyncio import timeout
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import orjson
import sqlalchemy as sa
from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from ontime import database, heartbeat, schema
from ontime.declaration import ENTITY_ID
from ontime.problem import PROBLEM
from ontime.schema import WORDS
from ontime.settings import Settings
from serving import examples, metrics, operations, parsing, search, threads
from serving.admission import ListAdmission
from serving.batcher import Batcher
from serving.model_store import ModelStore
from serving.operations_responses import Operations
from serving.parsing import RequestRejected
from serving.prediction_log import PredictionLog, PredictionNotStored
from serving.responses import (
    Alive,
    ErrorDetail,
    ErrorResponse,
    FeatureInfo,
    KnownOutcome,
    ListedEntity,
    Listing,
    ModelInfo,
    OutcomesReceived,
    Prediction,
    ProblemInfo,
    Ready,
)

KEY = PathParameter(pattern=f"^{ENTITY_ID}$", examples=[examples.OUTCOME["entity_id"]])
PAGES = Path(__file__).with_name("pages")
TAGS = [
    {
        "name": "predictions",
        "description": f"The probability that a {WORDS.entity} {WORDS.is_positive}, and a search for {WORDS.entities}.",
    },
    {"name": "outcomes", "description": f"How {WORDS.entities} ended, to evaluate predictions."},
    {"name": "model", "description": "The champion: the model that serves traffic."},
    {"name": "health", "description": "For load balancers and Kubernetes; no key required."},
    {"name": "operations", "description": "For operators of the service."},
    {"name": "protocol v2", "description": "The Open Inference Protocol: the model alone, on rows of numbers."},
]
ERRORS: dict[int, str] = {
    401: "the API key is missing or invalid",
    403: "the API key lacks the required scope",
    404: "not found",
    408: "the body was not received in time",
    413: "the body is too large",
    415: "the body is compressed, which is not supported",
    422: "the request is invalid; each error names its place",
    429: "too many requests with this key; retry after the seconds in Retry-After",
    503: "the service is overloaded, or could not store the prediction in time; retry",
}


def add_predictions(app: FastAPI, batcher: Batcher, settings: Settings) -> None:
    admission = ListAdmission(settings.request_seconds / 2)

    async def predictions(request: Request) -> Response:
        """The probability of the label, for one entity or for each of a list of up to 1000."""
        # 3. Read the body, wait for a place if it is a list, and parse it.
        arrived_at = perf_counter()
        explain = _explain_of(request)
        async with timeout(settings.request_seconds):
            body = await parsing.read_body(request)
            async with admission.place(request.scope["caller"], len(body)):
                entities, is_list = parsing.parse_entities(body, explain)
                has_left = request.scope.get("has_left", lambda: False)
                on_batch = request.scope.get("on_batch")
                results = await batcher.predict(entities, explain, arrived_at, has_left, on_batch)
        # 10. Serialise the response.
        content = orjson.dumps(results if is_list else results[0], option=orjson.OPT_UTC_Z)
        return Response(content, media_type="application/json")

    explain = {
        "name": "explain", "in": "query", "schema": {"type": "boolean", "default": False},
        "description": f"include reasons; for at most {parsing.MAX_EXPLAINED_ENTITIES} entities",
    }  # fmt: skip
    app.router.add_api_route(
        "/v1/predictions",
        predictions,
        methods=["POST"],
        tags=["predictions"],
        summary=f"Predict one {WORDS.entity} or a list",
        response_model=Prediction | list[Prediction],
        responses=_errors(408, 413, 415, 422, 503),
        openapi_extra={**examples.REQUEST_BODY, "parameters": [explain]},
    )


def _explain_of(request: Request) -> bool:
    if not request.scope["query_string"]:  # the usual case; Starlette's parser is slow
        return False
    values = request.query_params.getlist("explain") or ["false"]
    if values not in (["true"], ["false"]):
        detail = ErrorDetail(place="query.explain", reason="must be true or false, once", got=", ".join(values)[:40])
        raise RequestRejected(422, detail)
    return values == ["true"]


def add_outcomes(app: FastAPI, model_store: ModelStore, engine: sa.Engine, settings: Settings) -> None:
    @app.post(
        "/v1/outcomes",
        tags=["outcomes"],
        summary=f"Report how {WORDS.entities} ended",
        responses=_errors(408, 413, 415, 422, 503),
        openapi_extra=examples.OUTCOMES_BODY,
    )
    async def outcomes(request: Request) -> OutcomesReceived:
        """Outcomes may be sent late, repeatedly and in any order, even for entities without a prediction."""
        async with timeout(settings.request_seconds):
            question = model_store.live.champion.manifest.question
            reported, is_list = parsing.parse_outcomes(await parsing.read_body(request), question)
        await run_in_threadpool(parsing.reject_outcomes_before_event, engine, reported, is_list)
        latest = {each.entity_id: each for each in sorted(reported, key=lambda each: each.rank)}
        await run_in_threadpool(database.store_outcomes, engine, [each.model_dump() for each in latest.values()])
        return OutcomesReceived(received=len(reported))

    @app.get(
        "/v1/outcomes/{entity_id}",
        tags=["outcomes"],
        summary="Look up one outcome",
        responses=_errors(404, 422, 503),
    )
    def outcome(entity_id: Annotated[str, KEY]) -> KnownOutcome:
        """The outcome of one entity; 404 until it is known."""
        question = model_store.live.champion.manifest.question
        row = database.outcome_of(engine, entity_id, question.label_at_least)
        if row is None:
            raise RequestRejected(404, ErrorDetail(place="path.entity_id", reason="has no outcome yet"))
        words = PROBLEM.outcome(row.label, row.value, question)
        return KnownOutcome(entity_id=entity_id, label=row.label, value=row.value, known_at=row.known_at, words=words)


def add_lookups(app: FastAPI, model_store: ModelStore, engine: sa.Engine) -> None:
    @app.get("/v1/model", tags=["model"], summary="Describe the model")
    def model() -> ModelInfo:
        """Version, threshold, features and lineage of the champion."""
        manifest = model_store.live.champion.manifest
        fields = manifest.model_dump(include=set(ModelInfo.model_fields) - {"features"})
        features = tuple(
            FeatureInfo(
                name=each.name, unit=each.unit, meaning=each.meaning(manifest.question), known=each.known_from.value
            )
            for each in schema.FEATURES
        )
        return ModelInfo(**fields, features=features)

    @app.get("/v1/problem", tags=["model"], summary="Describe the problem")
    def problem() -> ProblemInfo:
        """What is predicted, with the texts of the web pages, as of the champion."""
        return search.problem_info(model_store.live.champion.manifest)

    @app.get("/v1/entities", tags=["predictions"], summary=f"Search {WORDS.entities}", responses=_errors(422, 503))
    def entities(query: Annotated[search.Query, Query()]) -> Listing:
        """Entities of the online store, ordered by event time."""
        return search.find_entities(engine, query, model_store.live.champion.manifest.names)

    @app.get(
        "/v1/entities/{entity_id}",
        tags=["predictions"],
        summary=f"Look up one {WORDS.entity}",
        responses=_errors(404, 422, 503),
    )
    def entity(entity_id: Annotated[str, KEY]) -> ListedEntity:
        """One entity of the online store."""
        listed = search.find_entity(engine, entity_id, model_store.live.champion.manifest.names)
        if listed is None:
            raise RequestRejected(404, ErrorDetail(place="path.entity_id", reason="is not in the online store"))
        return listed


def add_operations(app: FastAPI, model_store: ModelStore, prediction_log: PredictionLog, settings: Settings) -> None:
    # Both are asynchronous, so that they need no thread: all threads may be busy with queries.
    @app.get("/health/live", tags=["health"], summary="Liveness")
    async def alive() -> Alive:
        """The process responds."""
        return Alive()

    @app.get("/health/ready", tags=["health"], summary="Readiness", responses=_errors(503))
    async def ready() -> Ready:
        """The service can predict and store its predictions; 503 if it cannot store them."""
        if prediction_log.objection is not None:
            raise PredictionNotStored(prediction_log.objection)
        challenger = model_store.live.challenger
        return Ready(
            model_version=model_store.live.champion.manifest.version,
            challenger=challenger.manifest.version if challenger else None,
            notes=operations.health_notes(model_store, prediction_log),
        )

    @app.get("/v1/ops", tags=["operations"], summary="Releases, traffic and decisions", responses=_errors(503))
    def ops() -> Operations:
        """Releases, traffic of the last hour, latest decisions: the data of the page /ops."""
        return operations.overview(model_store, prediction_log, settings)

    @app.get(
        "/metrics",
        tags=["operations"],
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    def prometheus() -> Response:
        """In Prometheus' text format."""
        threads.notes()  # updates their metrics
        return Response(
            metrics.exposition(
                operations.latest_monitor_metrics(prediction_log),
                heartbeat.last_copy_seconds(settings.releases),
                operations.last_backup_seconds(prediction_log),
            ),
            media_type=metrics.CONTENT_TYPE_LATEST,
        )


def add_pages(app: FastAPI) -> None:
    # Swagger UI's own files. The package is not imported: its page has an inline script, which our policy forbids.
    app.mount("/static/swagger-ui", StaticFiles(packages=[("fastapi_swagger", "resources")]), name="swagger-ui")
    app.mount("/static", StaticFiles(directory=PAGES), name="static")

    @app.get("/", include_in_schema=False)
    def entity_page() -> FileResponse:
        return FileResponse(PAGES / "index.html")

    @app.get("/ops", include_in_schema=False)
    def operations_page() -> FileResponse:
        return FileResponse(PAGES / "ops.html")

    @app.get("/docs", include_in_schema=False)
    def documentation_page() -> FileResponse:
        return FileResponse(PAGES / "docs.html")

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> FileResponse:
        return FileResponse(PAGES / "favicon.ico")


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorResponse, "description": ERRORS[status]} for status in statuses}
