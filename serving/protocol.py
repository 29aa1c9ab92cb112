"""The Open Inference Protocol, version 2, over HTTP: any client that speaks it can ask the bare model.

The specification: github.com/kserve/open-inference-protocol. The input is the feature tensor, in the order of
GET /v1/model. A tensor names no entity, so these answers are not in the table of predictions, only in the metrics.
"""

from asyncio import timeout
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ontime import online, schema
from ontime.release import Release
from serving.keeping import Keeper
from serving.live import Live
from serving.requests import MOST_ENTITIES, Refused, body_of, problems_of, quotes_in, refuse_repeated

INPUT, OUTPUT, DATATYPE = "features", "probability", "FP32"
LARGEST = float(np.finfo(np.float32).max)
MOST_SHOWN = 80  # characters of a name that is not known here
WIDTH = len(schema.FEATURE_NAMES)


Name = Annotated[str, PathParameter(examples=["ontime"])]


class Tensor(BaseModel):
    """What the protocol calls request_input: row-major numbers; null or NaN stands for a feature that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Literal["features"]
    shape: Annotated[tuple[int, int], Field(strict=False, examples=[[1, WIDTH]])]
    datatype: Literal["FP32"]
    parameters: dict[str, Any] = {}
    data: Annotated[list[Any], Field(description="flat, or nested as its shape says")]


class Wanted(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Literal["probability"]
    parameters: dict[str, Any] = {}


class InferRequest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Annotated[str | None, Field(max_length=128)] = None
    parameters: dict[str, Any] = {}
    inputs: Annotated[tuple[Tensor, ...], Field(strict=False, min_length=1, max_length=1)]
    outputs: Annotated[tuple[Wanted, ...], Field(strict=False, max_length=1)] = ()


class Output(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class InferAnswer(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Output]


class Failure(BaseModel):
    error: str


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerLive(BaseModel):
    live: bool


class ServerReady(BaseModel):
    ready: bool


class ModelReady(BaseModel):
    name: str
    ready: bool


class ProtocolError(Exception):
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status, self.error = status, error


def router_of(live: Live, keeper: Keeper, request_seconds: float) -> APIRouter:
    router = APIRouter(tags=["protocol v2"])
    unknown: dict[int | str, dict[str, Any]] = {404: {"model": Failure, "description": "no such model or version"}}
    wrong: dict[int | str, dict[str, Any]] = {
        status: {"model": Failure, "description": words}
        for status, words in (
            (400, "no such request"),
            (408, "the body came too slowly"),
            (413, "the body is too large"),
            (415, "the body is compressed"),
        )
    }

    @router.get("/v2", summary="Describe the server")
    def server() -> ServerMetadata:
        return ServerMetadata(name="ontime", version="2", extensions=[])

    @router.get("/v2/health/live", summary="Is the server alive?")
    def server_live() -> ServerLive:
        return ServerLive(live=True)

    @router.get("/v2/health/ready", summary="Is the server ready?")
    def server_ready() -> ServerReady:
        return ServerReady(ready=keeper.full is None)

    @router.get("/v2/models/{name}", summary="Describe the input and the output", responses=unknown)
    @router.get("/v2/models/{name}/versions/{version}", summary="Describe those of one version", responses=unknown)
    def metadata(name: Name, version: str | None = None) -> ModelMetadata:
        manifest = _chosen(live, name, version).manifest
        return ModelMetadata(
            name=manifest.name,
            versions=_versions(live),
            platform="onnx_onnxruntime",
            inputs=[TensorMetadata(name=INPUT, datatype=DATATYPE, shape=[-1, WIDTH])],
            outputs=[TensorMetadata(name=OUTPUT, datatype=DATATYPE, shape=[-1])],
        )

    @router.get("/v2/models/{name}/ready", summary="Is the model ready?", responses=unknown)
    @router.get("/v2/models/{name}/versions/{version}/ready", summary="Is that version ready?", responses=unknown)
    def model_ready(name: Name, version: str | None = None) -> ModelReady:
        return ModelReady(name=_chosen(live, name, version).manifest.name, ready=True)

    content = {"schema": _schema_of(InferRequest), "example": _example(live)}
    body = {"requestBody": {"required": True, "content": {"application/json": content}}}

    @router.post(
        "/v2/models/{name}/infer", summary="Predict rows of numbers", responses={**unknown, **wrong}, openapi_extra=body
    )
    @router.post(
        "/v2/models/{name}/versions/{version}/infer",
        summary="Predict with that version",
        responses={**unknown, **wrong},
        openapi_extra=body,
    )
    async def infer(request: Request, name: Name, version: str | None = None) -> InferAnswer:
        chosen = _chosen(live, name, version)
        try:
            async with timeout(request_seconds):
                body = await body_of(request)
            asked = InferRequest.model_validate_json(body)
            matrix = _matrix_of(asked.inputs[0])
            refuse_repeated(body, "request", _quotes_in(asked))
        except TimeoutError:
            raise ProtocolError(408, "the body came too slowly") from None
        except Refused as refused:
            raise _as_error(refused) from None
        except ValidationError as error:
            raise _as_error(Refused(422, *problems_of("request", error, body))) from None
        told = (await run_in_threadpool(chosen.model.predict, matrix)).tolist()
        return InferAnswer(
            model_name=name,
            model_version=chosen.manifest.version,
            id=asked.id,
            outputs=[Output(name=OUTPUT, shape=[len(told)], datatype=DATATYPE, data=told)],
        )

    return router


def _as_error(refused: Refused) -> ProtocolError:
    """The specification knows one text, and 400 for what is wrong with it."""
    problem = refused.problems[0]
    return ProtocolError(400 if refused.status == 422 else refused.status, f"{problem.place}: {problem.reason}")


def _quotes_in(asked: InferRequest) -> int:
    """Of what is no more than numbers, without `parameters`, which may hold anything: see `refuse_repeated`."""
    return sum(map(quotes_in, (asked, *asked.inputs, *asked.outputs)))


def answer_error(_: Request, error: Exception) -> JSONResponse:
    """The specification's error body."""
    assert isinstance(error, ProtocolError)  # noqa: S101  Starlette's signature, told to mypy
    return JSONResponse({"error": error.error}, status_code=error.status)


def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """JSON schema without references, which would point outside of the OpenAPI document's components."""
    schema = model.model_json_schema(ref_template="{model}")
    parts = schema.pop("$defs")

    def whole(node: Any) -> Any:
        if isinstance(node, dict):
            return whole(parts[node["$ref"]]) if "$ref" in node else {key: whole(value) for key, value in node.items()}
        return [whole(value) for value in node] if isinstance(node, list) else node

    resolved: dict[str, Any] = whole(schema)
    return resolved


def _example(live: Live) -> dict[str, Any]:
    """A request with the row of a real entity: the first that the release was proven on."""
    champion = live.serving.champion
    row = online.rows_of(champion.probes[:1], champion)[0]
    data = [None if np.isnan(value) else float(str(value)) for value in row]
    return {"inputs": [{"name": INPUT, "shape": [1, WIDTH], "datatype": DATATYPE, "data": data}]}


def _loaded(live: Live) -> list[Release]:
    serving = live.serving
    return [serving.champion, *([serving.challenger] if serving.challenger else [])]


def _versions(live: Live) -> list[str]:
    return [each.manifest.version for each in _loaded(live)]


def _chosen(live: Live, name: str, version: str | None) -> Release:
    """The champion, unless a version is named. Raises ProtocolError for what is not loaded here."""
    for each in _loaded(live):
        if each.manifest.name == name and version in (None, each.manifest.version):
            return each
    named = f"{name[:MOST_SHOWN]!r}{'' if version is None else f' of version {version[:MOST_SHOWN]!r}'}"
    raise ProtocolError(404, f"no model {named} is loaded here")


def _matrix_of(tensor: Tensor) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Raises ProtocolError for data that are no numbers, or not of that shape."""
    rows, width = tensor.shape
    if width != WIDTH or not 1 <= rows <= MOST_ENTITIES:
        raise ProtocolError(400, f"shape {list(tensor.shape)} is not [n, {WIDTH}] with n from 1 to {MOST_ENTITIES}")
    data = tensor.data
    if all(isinstance(row, list) for row in data):
        if len(data) != rows or any(len(row) != width for row in data):
            raise ProtocolError(400, f"data are not of shape {list(tensor.shape)}")
        data = [value for row in data for value in row]
    if len(data) != rows * width:
        raise ProtocolError(400, f"{len(data)} numbers for shape {list(tensor.shape)}")
    for place, value in enumerate(data):
        if value is not None and (type(value) not in (int, float) or abs(value) > LARGEST):
            raise ProtocolError(400, f"data.{place} is neither a finite FP32 number nor null")
    return np.array([np.nan if value is None else value for value in data], np.float32).reshape(rows, width)
