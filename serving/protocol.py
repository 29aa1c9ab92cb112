"""The Open Inference Protocol, version 2, over HTTP: its clients can call the model directly.

Specification: github.com/kserve/open-inference-protocol. The input is the feature tensor, in the order of
GET /v1/model. A tensor names no entity, so these predictions are in the metrics, but not in the prediction log.
"""

from asyncio import timeout
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from ontime import online
from ontime.release import Release
from serving.model_store import ModelStore
from serving.parsing import (
    MAX_ENTITIES,
    RequestRejected,
    count_quotes,
    details_of,
    read_body,
    reject_duplicate_names,
)
from serving.prediction_log import PredictionLog
from serving.protocol_schemas import (
    WIDTH,
    InferErrorResponse,
    InferRequest,
    InferResponse,
    ModelMetadata,
    ModelReady,
    Output,
    ServerLive,
    ServerMetadata,
    ServerReady,
    Tensor,
    TensorMetadata,
)

INPUT, OUTPUT, DATATYPE = "features", "probability", "FP32"
MAX_FLOAT32 = float(np.finfo(np.float32).max)
MAX_SHOWN_CHARACTERS = 80  # of an unknown name, in an error
BINARY_INPUT = (
    "the binary tensor data extension is not supported: send the tensor as JSON "
    "(tritonclient: set_data_from_numpy(rows, binary_data=False))"
)

Name = Annotated[str, PathParameter(examples=["ontime"])]


class ProtocolError(Exception):
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status, self.error = status, error


def router(model_store: ModelStore, prediction_log: PredictionLog, request_seconds: float) -> APIRouter:
    routes = APIRouter(tags=["protocol v2"])
    not_found: dict[int | str, dict[str, Any]] = {
        404: {"model": InferErrorResponse, "description": "no such model or version"}
    }
    invalid: dict[int | str, dict[str, Any]] = {
        status: {"model": InferErrorResponse, "description": description}
        for status, description in (
            (400, "the request is invalid"),
            (408, "the body was not received in time"),
            (413, "the body is too large"),
            (415, "the body is compressed, which is not supported"),
        )
    }

    @routes.get("/v2", summary="Describe the server")
    def server() -> ServerMetadata:
        return ServerMetadata(name="ontime", version="2", extensions=[])

    @routes.get("/v2/health/live", summary="Liveness of the server")
    def server_live() -> ServerLive:
        return ServerLive(live=True)

    @routes.get("/v2/health/ready", summary="Readiness of the server")
    def server_ready() -> ServerReady:
        return ServerReady(ready=prediction_log.objection is None)

    @routes.get("/v2/models/{name}", summary="Describe the input and the output", responses=not_found)
    @routes.get("/v2/models/{name}/versions/{version}", summary="Describe one version", responses=not_found)
    def metadata(name: Name, version: str | None = None) -> ModelMetadata:
        manifest = _release(model_store, name, version).manifest
        return ModelMetadata(
            name=manifest.name,
            versions=_versions(model_store),
            platform="onnx_onnxruntime",
            inputs=[TensorMetadata(name=INPUT, datatype=DATATYPE, shape=[-1, WIDTH])],
            outputs=[TensorMetadata(name=OUTPUT, datatype=DATATYPE, shape=[-1])],
        )

    @routes.get("/v2/models/{name}/ready", summary="Readiness of the model", responses=not_found)
    @routes.get("/v2/models/{name}/versions/{version}/ready", summary="Readiness of one version", responses=not_found)
    def model_ready(name: Name, version: str | None = None) -> ModelReady:
        return ModelReady(name=_release(model_store, name, version).manifest.name, ready=True)

    errors = {**not_found, **invalid}
    content = {"schema": _schema_of(InferRequest), "example": _example(model_store)}
    body = {"requestBody": {"required": True, "content": {"application/json": content}}}

    @routes.post(
        "/v2/models/{name}/infer",
        summary="Predict rows of numbers",
        responses=errors,
        openapi_extra=body,
    )
    @routes.post(
        "/v2/models/{name}/versions/{version}/infer",
        summary="Predict with that version",
        responses=errors,
        openapi_extra=body,
    )
    async def infer(request: Request, name: Name, version: str | None = None) -> InferResponse:
        release = _release(model_store, name, version)
        try:
            async with timeout(request_seconds):
                body = await read_body(request)
            _refuse_binary(request)
            infer_request = InferRequest.model_validate_json(body)
            matrix = _matrix_of(infer_request.inputs[0])
            reject_duplicate_names(body, "request", _quotes_in(infer_request))
        except TimeoutError:
            raise ProtocolError(408, "the body was not received in time") from None
        except RequestRejected as error:
            raise _protocol_error(error) from None
        except ValidationError as error:
            raise _protocol_error(RequestRejected(422, *details_of("request", error, body))) from None
        probabilities = (await run_in_threadpool(release.model.predict, matrix)).tolist()
        return InferResponse(
            model_name=name,
            model_version=release.manifest.version,
            id=infer_request.id,
            outputs=[Output(name=OUTPUT, shape=[len(probabilities)], datatype=DATATYPE, data=probabilities)],
        )

    return routes


def _refuse_binary(request: Request) -> None:
    if "inference-header-content-length" in request.headers:
        raise ProtocolError(400, BINARY_INPUT)


def unknown_path(path: str) -> ProtocolError:
    return ProtocolError(404, f"{path} is not a path of this protocol; GET /v2 describes the server")


def _protocol_error(error: RequestRejected) -> ProtocolError:
    """The specification has one text per error, and status 400 for an invalid request."""
    detail = error.details[0]
    return ProtocolError(400 if error.status == 422 else error.status, f"{detail.place}: {detail.reason}")


def _quotes_in(infer_request: InferRequest) -> int:
    """Without those inside `parameters`, which may contain any JSON: see `reject_duplicate_names`."""
    return sum(map(count_quotes, (infer_request, *infer_request.inputs, *infer_request.outputs)))


def error_response(_: Request, error: Exception) -> JSONResponse:
    """The specification's error body."""
    assert isinstance(error, ProtocolError)  # noqa: S101  for mypy: Starlette's signature has Exception
    return JSONResponse({"error": error.error}, status_code=error.status)


def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """JSON schema with its references resolved: their targets are not among the components of the OpenAPI document."""
    schema = model.model_json_schema(ref_template="{model}")
    parts = schema.pop("$defs")

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            return (
                resolve(parts[node["$ref"]]) if "$ref" in node else {key: resolve(value) for key, value in node.items()}
            )
        return [resolve(value) for value in node] if isinstance(node, list) else node

    resolved: dict[str, Any] = resolve(schema)
    return resolved


def _example(model_store: ModelStore) -> dict[str, Any]:
    """A request with the row of a real entity: the first probe of the release."""
    champion = model_store.live.champion
    row = online.probe_matrix(champion.probes[:1], champion)[0]
    data = [None if np.isnan(value) else float(str(value)) for value in row]
    return {"inputs": [{"name": INPUT, "shape": [1, WIDTH], "datatype": DATATYPE, "data": data}]}


def _loaded(model_store: ModelStore) -> list[Release]:
    live = model_store.live
    return [live.champion, *([live.challenger] if live.challenger else [])]


def _versions(model_store: ModelStore) -> list[str]:
    return [each.manifest.version for each in _loaded(model_store)]


def _release(model_store: ModelStore, name: str, version: str | None) -> Release:
    """The champion, or the given version. Raises ProtocolError if it is not loaded."""
    for each in _loaded(model_store):
        if each.manifest.name == name and version in (None, each.manifest.version):
            return each
    label = (
        f"{name[:MAX_SHOWN_CHARACTERS]!r}{'' if version is None else f' of version {version[:MAX_SHOWN_CHARACTERS]!r}'}"
    )
    raise ProtocolError(404, f"model {label} is not loaded")


def _matrix_of(tensor: Tensor) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Raises ProtocolError if the data are not numbers, or do not have that shape."""
    rows, width = tensor.shape
    if width != WIDTH or not 1 <= rows <= MAX_ENTITIES:
        raise ProtocolError(400, f"shape {list(tensor.shape)} is not [n, {WIDTH}] with n from 1 to {MAX_ENTITIES}")
    data = tensor.data
    if all(isinstance(row, list) for row in data):
        if len(data) != rows or any(len(row) != width for row in data):
            raise ProtocolError(400, f"data do not have shape {list(tensor.shape)}")
        data = [value for row in data for value in row]
    if len(data) != rows * width:
        raise ProtocolError(400, f"{len(data)} numbers for shape {list(tensor.shape)}")
    for place, value in enumerate(data):
        if value is not None and (type(value) not in (int, float) or abs(value) > MAX_FLOAT32):
            raise ProtocolError(400, f"data.{place} is neither a finite FP32 number nor null")
    return np.array([np.nan if value is None else value for value in data], np.float32).reshape(rows, width)
