"""Maps exceptions to error responses: details with their places, and no internals of the server."""

import logging
from http import HTTPStatus
from typing import Any, cast

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serving import protocol
from serving.admission import Overloaded
from serving.parsing import RequestRejected
from serving.prediction_log import PredictionNotStored
from serving.responses import ErrorDetail, ErrorResponse

logger = logging.getLogger(__name__)

RETRY_AFTER = {"retry-after": "1"}  # seconds


def add_handlers(app: FastAPI) -> None:
    for exception, handler in (
        (RequestRejected, _rejected),
        (RequestValidationError, _invalid),
        (HTTPException, _http_error),
        (protocol.ProtocolError, protocol.error_response),
        (PredictionNotStored, _not_stored),
        # 503 only if a retry can succeed. A value that the database rejects has passed our validation, so it is a bug,
        # as are all other errors of SQLAlchemy.
        (sa.exc.DBAPIError, _database_down),
        (sa.exc.TimeoutError, _database_down),
        (sa.exc.DataError, _internal_error),
        (sa.exc.IntegrityError, _internal_error),
        (Overloaded, _timed_out),
        (TimeoutError, _timed_out),
        (Exception, _internal_error),
    ):
        app.add_exception_handler(exception, cast("Any", handler))  # Starlette's type accepts only any Exception


def _response(status: int, *details: ErrorDetail, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(
        ErrorResponse(detail=details).model_dump(exclude_none=True), status_code=status, headers=headers
    )


def _rejected(_: Request, error: RequestRejected) -> JSONResponse:
    return _response(error.status, *error.details)


def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    details = [
        ErrorDetail(place=".".join(map(str, each["loc"])), reason=each["msg"].removeprefix("Value error, "))
        for each in error.errors()
    ]
    return _response(422, *details)


def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    if error.status_code == HTTPStatus.NOT_FOUND and request.url.path.startswith("/v2/"):
        return protocol.error_response(request, protocol.unknown_path(request.url.path))
    headers = dict(error.headers or {})
    return _response(error.status_code, ErrorDetail(place="path", reason=str(error.detail)), headers=headers)


def _not_stored(_: Request, error: PredictionNotStored) -> JSONResponse:
    detail = ErrorDetail(place="predictions", reason=str(error) or "could not be stored, so none is returned; retry")
    return _response(503, detail, headers=RETRY_AFTER)


def _database_down(_: Request, error: sa.exc.SQLAlchemyError) -> JSONResponse:
    logger.error("database: %s", str(error).partition("\n")[0])  # the following lines contain the rows
    return _response(503, ErrorDetail(place="database", reason="is not available; retry"), headers=RETRY_AFTER)


def _timed_out(request: Request, _: Exception) -> JSONResponse:
    if getattr(request.state, "body_timed_out", False):
        return _response(408, ErrorDetail(place="body", reason="was not received in time"))
    return _response(503, ErrorDetail(place="service", reason="is overloaded; retry"), headers=RETRY_AFTER)


def _internal_error(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, sa.exc.StatementError):
        error.hide_parameters = True  # the log must not contain rows
    logger.error("internal error", exc_info=error)
    return _response(500, ErrorDetail(place="service", reason="internal error; see the log of the service"))
