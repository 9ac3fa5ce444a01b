"""Errors as problem documents (RFC 9457): one table from our errors to HTTP, one function that answers all.

Clients tell problems apart by `type`, which is an error's stable code. What dockbus did not expect says
nothing about its inside: the traceback goes to the log, where uvicorn writes it.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from dockbus.artefacts import ArtefactNotFound
from dockbus.blobs import BlobNotFound, BlobTooLarge
from dockbus.errors import (
    DockbusError,
    InvalidSpec,
    JobNotCancelable,
    JobNotFound,
    JobNotReplayable,
    JobRefused,
    JobTooNew,
    KeyConflict,
    RedisUnavailable,
    Unauthorized,
)
from dockbus.inventory import ContainerAmbiguous, ContainerStopped, ContainerUnknown
from dockbus.stats import StatsUnavailable

MEDIA_TYPE = "application/problem+json"


class InvalidRequest(DockbusError):
    """The request is not valid.

    Correct the named parameters; `/docs` describes them.
    """


class BodyTooLarge(DockbusError):
    """The request's body is too large."""


class Bug(DockbusError):
    """dockbus has a bug.

    The log of the API has the traceback; please report it.
    """


STATUS: dict[type[DockbusError], int] = {
    Unauthorized: 401,
    ArtefactNotFound: 404,
    BlobNotFound: 404,
    ContainerUnknown: 404,
    JobNotFound: 404,
    ContainerAmbiguous: 409,
    ContainerStopped: 409,
    JobNotCancelable: 409,
    JobNotReplayable: 409,
    JobRefused: 409,
    JobTooNew: 409,
    KeyConflict: 409,
    BlobTooLarge: 413,
    BodyTooLarge: 413,
    InvalidRequest: 422,
    InvalidSpec: 422,
    RedisUnavailable: 503,
    StatsUnavailable: 503,
}
"""The HTTP status of each error; 500 for one that is not here."""

_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "5"}}


class Problem(BaseModel):
    """What went wrong and what to do."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    type: str
    """Stable name of the problem, `urn:dockbus:problem:CODE`."""
    title: str
    """The same sentence for every problem of this type."""
    status: int
    """The HTTP status."""
    detail: str = ""
    """What is wrong in this case."""
    advice: str = ""
    """What to do about it."""
    instance: str
    """The path that was asked for."""


def problem(request: Request, error: Exception) -> Problem:
    """The problem document of an exception."""
    path = request.url.path
    if isinstance(error, HTTPException):  # of the framework: no such route, no such method
        status = HTTPStatus(error.status_code)
        return Problem(
            type=f"urn:dockbus:problem:{status.phrase.lower().replace(' ', '-')}",
            title=f"{status.phrase}.",
            status=status,
            detail=f"{request.method} {path}",
            advice="`/docs` lists what there is.",
            instance=path,
        )
    if isinstance(error, RequestValidationError):
        wrong = (f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in error.errors())
        error = InvalidRequest("; ".join(wrong))
    elif not isinstance(error, DockbusError):
        error = Bug()
    return Problem(
        type=f"urn:dockbus:problem:{error.code}",
        title=error.title,
        status=STATUS.get(type(error), 500),
        detail=error.detail,
        advice=error.advice,
        instance=path,
    )


async def answer(request: Request, error: Exception) -> Response:
    """Answer a request that ended in this exception."""
    document = problem(request, error)
    headers = error.headers if isinstance(error, HTTPException) else _HEADERS.get(document.status)
    return Response(document.model_dump_json(), document.status, headers, MEDIA_TYPE)
