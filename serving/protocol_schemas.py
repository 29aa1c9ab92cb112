"""Request and response bodies of the Open Inference Protocol, version 2."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ontime import schema

WIDTH = len(schema.FEATURE_NAMES)


class Tensor(BaseModel):
    """The protocol's request_input: numbers in row-major order; null is a missing feature."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Literal["features"]
    shape: Annotated[tuple[int, int], Field(strict=False, examples=[[1, WIDTH]])]
    datatype: Literal["FP32"]
    parameters: dict[str, Any] = {}
    data: Annotated[list[Any], Field(description="flat, or nested according to shape")]


class RequestedOutput(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Literal["probability"]
    parameters: dict[str, Any] = {}


class InferRequest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Annotated[str | None, Field(max_length=128)] = None
    parameters: dict[str, Any] = {}
    inputs: Annotated[tuple[Tensor, ...], Field(strict=False, min_length=1, max_length=1)]
    outputs: Annotated[tuple[RequestedOutput, ...], Field(strict=False, max_length=1)] = ()


class Output(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class InferResponse(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Output]


class InferErrorResponse(BaseModel):
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
