"""What is answered when something goes wrong: always problems with their places, never a detail of the server."""

import logging
from typing import Any, cast

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serving import protocol
from serving.answers import Problem, Refusal
from serving.desk import Overloaded
from serving.keeping import CannotKeep
from serving.requests import Refused

logger = logging.getLogger(__name__)

SOON = {"retry-after": "1"}


def add_handlers(app: FastAPI) -> None:
    for kind, handler in (
        (Refused, _refused),
        (RequestValidationError, _invalid),
        (HTTPException, _missing),
        (protocol.ProtocolError, protocol.answer_error),
        (CannotKeep, _cannot_keep),
        # 503 only where trying again can help. A value that the database refuses has passed our validation: a fault of
        # ours, as everything else that SQLAlchemy raises.
        (sa.exc.DBAPIError, _database_away),
        (sa.exc.TimeoutError, _database_away),
        (sa.exc.DataError, _failed),
        (sa.exc.IntegrityError, _failed),
        (Overloaded, _too_slow),
        (TimeoutError, _too_slow),
        (Exception, _failed),
    ):
        app.add_exception_handler(kind, cast("Any", handler))  # Starlette would have them all take any Exception


def _answer(status: int, *problems: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(Refusal(detail=problems).model_dump(exclude_none=True), status_code=status, headers=headers)


def _refused(_: Request, error: Refused) -> JSONResponse:
    return _answer(error.status, *error.problems)


def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    problems = [
        Problem(place=".".join(map(str, each["loc"])), reason=each["msg"].removeprefix("Value error, "))
        for each in error.errors()
    ]
    return _answer(422, *problems)


def _missing(_: Request, error: HTTPException) -> JSONResponse:
    headers = dict(error.headers or {})
    return _answer(error.status_code, Problem(place="path", reason=str(error.detail)), headers=headers)


def _cannot_keep(_: Request, __: CannotKeep) -> JSONResponse:
    problem = Problem(place="predictions", reason="cannot be kept now, so none is given; try again")
    return _answer(503, problem, headers=SOON)


def _database_away(_: Request, error: sa.exc.SQLAlchemyError) -> JSONResponse:
    logger.error("database: %s", str(error).partition("\n")[0])  # the lines after it hold the rows
    return _answer(503, Problem(place="database", reason="not available; try again"), headers=SOON)


def _too_slow(request: Request, _: Exception) -> JSONResponse:
    if getattr(request.state, "body_is_late", False):
        return _answer(408, Problem(place="body", reason="came too slowly"))
    return _answer(503, Problem(place="service", reason="has too much to do; try again"), headers=SOON)


def _failed(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, sa.exc.StatementError):
        error.hide_parameters = True  # the log holds no rows
    logger.error("failed", exc_info=error)
    return _answer(500, Problem(place="service", reason="failed; the log says why"))
