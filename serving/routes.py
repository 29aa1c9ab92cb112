"""The routes: each reads a request, asks one part of the service, and says what comes back."""

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

from ontime import database, schema
from ontime.declaration import ENTITY_ID
from ontime.problem import PROBLEM
from ontime.schema import WORDS
from ontime.settings import Settings
from serving import examples, metrics, operations, requests, search
from serving.answers import (
    Alive,
    FeatureInfo,
    KnownOutcome,
    ListedEntity,
    Listing,
    ModelInfo,
    Operations,
    Prediction,
    Problem,
    ProblemInfo,
    Ready,
    Received,
    Refusal,
)
from serving.desk import Desk
from serving.keeping import CannotKeep, Keeper
from serving.live import Live
from serving.requests import Refused

KEY = PathParameter(pattern=f"^{ENTITY_ID}$", examples=[examples.OUTCOME["entity_id"]])
PAGES = Path(__file__).with_name("pages")
TAGS = [
    {
        "name": "predictions",
        "description": f"How likely it is that a {WORDS.entity} {WORDS.is_positive}, and which can be asked about.",
    },
    {"name": "outcomes", "description": f"How {WORDS.entities} ended: what the predictions are measured against."},
    {"name": "model", "description": "The model that answers."},
    {"name": "health", "description": "For load balancers and Kubernetes. No key is needed."},
    {"name": "operations", "description": "For those who run the service."},
    {"name": "protocol v2", "description": "The Open Inference Protocol: the bare model, on rows of numbers."},
]
REFUSALS: dict[int, str] = {
    401: "a key is needed, and this is none",
    403: "this key may not do that",
    404: "there is no such thing",
    408: "the body came too slowly",
    413: "the body is too large",
    415: "the body is compressed, which is not supported",
    422: "something is wrong with the request; each problem has its place",
    429: "too many requests with this key; Retry-After says when",
    503: "not now: what is answered has to be kept, and in time; try again",
}


def add_predictions(app: FastAPI, desk: Desk, settings: Settings) -> None:
    async def predictions(request: Request) -> Response:
        """How likely the label is, of one entity or of each of a list of up to 1000."""
        arrived = perf_counter()
        explain = _explain_of(request)
        async with timeout(settings.request_seconds):
            entities, listed = requests.entities_in(await requests.body_of(request), explain)
            answers = await desk.ask(entities, explain, arrived)
        return Response(
            orjson.dumps(answers if listed else answers[0], option=orjson.OPT_UTC_Z), media_type="application/json"
        )

    explain = {
        "name": "explain", "in": "query", "schema": {"type": "boolean", "default": False},
        "description": f"also say what moved the probability; for at most {requests.MOST_EXPLAINED} entities",
    }  # fmt: skip
    app.router.add_api_route(
        "/v1/predictions",
        predictions,
        methods=["POST"],
        tags=["predictions"],
        summary=f"Predict one {WORDS.entity} or a list",
        response_model=Prediction | list[Prediction],
        responses=_refusals(408, 413, 415, 422, 503),
        openapi_extra={**examples.REQUEST_BODY, "parameters": [explain]},
    )


def _explain_of(request: Request) -> bool:
    if not request.scope["query_string"]:  # nearly always, and Starlette takes its time to find nothing
        return False
    told = request.query_params.getlist("explain") or ["false"]
    if told not in (["true"], ["false"]):
        raise Refused(422, Problem(place="query.explain", reason="is true or false", got=", ".join(told)[:40]))
    return told == ["true"]


def add_outcomes(app: FastAPI, live: Live, engine: sa.Engine, settings: Settings) -> None:
    @app.post(
        "/v1/outcomes",
        tags=["outcomes"],
        summary=f"Report how {WORDS.entities} ended",
        responses=_refusals(408, 413, 415, 422, 503),
        openapi_extra=examples.OUTCOMES_BODY,
    )
    async def outcomes(request: Request) -> Received:
        """How it ended: late, twice, in any order, also of entities that nobody asked for."""
        async with timeout(settings.request_seconds):
            question = live.serving.champion.manifest.question
            told, listed = requests.outcomes_in(await requests.body_of(request), question)
        await run_in_threadpool(requests.refuse_outcomes_before_the_event, engine, told, listed)
        latest = {each.entity_id: each for each in sorted(told, key=lambda each: each.rank)}
        await run_in_threadpool(database.store_outcomes, engine, [each.model_dump() for each in latest.values()])
        return Received(received=len(told))

    @app.get(
        "/v1/outcomes/{entity_id}",
        tags=["outcomes"],
        summary="Look up one outcome",
        responses=_refusals(404, 422, 503),
    )
    def outcome(entity_id: Annotated[str, KEY]) -> KnownOutcome:
        """How it ended, once that is known."""
        question = live.serving.champion.manifest.question
        row = database.outcome_of(engine, entity_id, question.label_at_least)
        if row is None:
            raise Refused(404, Problem(place="path.entity_id", reason="not known yet"))
        words = PROBLEM.outcome(row.label, row.value, question)
        return KnownOutcome(entity_id=entity_id, label=row.label, value=row.value, known_at=row.known_at, words=words)


def add_lookups(app: FastAPI, live: Live, engine: sa.Engine) -> None:
    @app.get("/v1/model", tags=["model"], summary="Describe the model")
    def model() -> ModelInfo:
        """What answers: its version, its threshold, its features, and where it came from."""
        manifest = live.serving.champion.manifest
        shared = manifest.model_dump(include=set(ModelInfo.model_fields) - {"features"})
        features = tuple(
            FeatureInfo(name=each.name, unit=each.unit, meaning=each.meaning(manifest.question), known=each.known.value)
            for each in schema.FEATURES
        )
        return ModelInfo(**shared, features=features)

    @app.get("/v1/problem", tags=["model"], summary="Describe the problem")
    def problem() -> ProblemInfo:
        """What is predicted, of what, and how people speak of it; by the release that answers."""
        return search.problem(live.serving.champion.manifest)

    @app.get("/v1/entities", tags=["predictions"], summary=f"Search {WORDS.entities}", responses=_refusals(422, 503))
    def entities(query: Annotated[search.Query, Query()]) -> Listing:
        """Those in the online store, in order of their event time."""
        return search.find(engine, query, live.serving.champion.manifest.names)

    @app.get(
        "/v1/entities/{entity_id}",
        tags=["predictions"],
        summary=f"Look up one {WORDS.entity}",
        responses=_refusals(404, 422, 503),
    )
    def entity(entity_id: Annotated[str, KEY]) -> ListedEntity:
        """One that is in the online store."""
        found = search.one(engine, entity_id, live.serving.champion.manifest.names)
        if found is None:
            raise Refused(404, Problem(place="path.entity_id", reason="is not in the online store"))
        return found


def add_operations(app: FastAPI, live: Live, keeper: Keeper, settings: Settings) -> None:
    @app.get("/health/live", tags=["health"], summary="Is it alive?")
    def alive() -> Alive:
        """The process answers."""
        return Alive()

    @app.get("/health/ready", tags=["health"], summary="Is it ready?", responses=_refusals(503))
    def ready() -> Ready:
        """It can predict, and keep what it predicts; 503 where the answers cannot be kept."""
        if keeper.full is not None:
            raise CannotKeep
        challenger = live.serving.challenger
        return Ready(
            model_version=live.serving.champion.manifest.version,
            challenger=challenger.manifest.version if challenger else None,
            notes=operations.notes_of(live, keeper),
        )

    @app.get("/v1/ops", tags=["operations"], summary="Releases, traffic and decisions", responses=_refusals(503))
    def ops() -> Operations:
        """Releases, the last hour's traffic, the last decisions: what the page /ops shows."""
        return operations.overview(live, keeper, settings)

    @app.get(
        "/metrics",
        tags=["operations"],
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    def prometheus() -> Response:
        """In the text format of its exposition."""
        return Response(metrics.exposition(operations.last_verdict(keeper)), media_type=metrics.CONTENT_TYPE_LATEST)


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


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Refusal, "description": REFUSALS[status]} for status in statuses}
