"""The body of `POST /v1/jobs`: a spec and how to queue it, read strictly from the bytes that were sent.

FastAPI would parse the JSON first and validate Python objects, and strict models refuse the strings that JSON
has for enums then. So the bytes are read here, counted as they come.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Header, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from dockbus.errors import InvalidSpec
from dockbus.jobs import Spec, explain
from dockbus.settings import Name
from dockbus.units import Seconds
from dockbus_producer.api.problems import BodyTooLarge

MAX_BYTES = 1024 * 1024
"""Most bytes a body may have."""

_DAY = 24 * 3600.0

Key = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class JobRequest(BaseModel):
    """A job to put on the bus."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )

    spec: Spec
    """What to do."""
    key: Key | None = None
    """Idempotency key: while the first job with it is kept, the same key and spec return that job. The header
    `Idempotency-Key` says the same."""
    engine: Name | None = None
    """Name of the one Engine it must run on. Default: any."""
    priority: Literal["normal", "high"] = "normal"
    """`high` goes before all that is queued now."""
    delay: Seconds = Field(default=0.0, ge=0, le=366 * _DAY)
    """Seconds to wait before it is queued."""
    timeout: Seconds | None = Field(default=None, gt=0, le=7 * _DAY)
    """Seconds one attempt may take. Default: the kind's own limit."""


async def read_job_request(
    request: Request,
    idempotency_key: Annotated[
        Key | None, Header(alias="Idempotency-Key", description="The same as `key`.")
    ] = None,
) -> JobRequest:
    """The job request in the body.

    Raises:
        BodyTooLarge: there is more of it than `MAX_BYTES`.
        InvalidSpec: it is none, or it has another key than the header.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise BodyTooLarge(f"at most {MAX_BYTES} bytes are read")
    try:
        asked = JobRequest.model_validate_json(bytes(body))
    except ValidationError as error:
        raise InvalidSpec(explain(error)) from None
    if idempotency_key and asked.key not in (None, idempotency_key):
        raise InvalidSpec(f"key: {asked.key!r} is not the Idempotency-Key {idempotency_key!r}")
    return asked.model_copy(update={"key": idempotency_key or asked.key})


EXAMPLES: dict[str, dict[str, Any]] = {
    "pull": {
        "summary": "Bring an image to any Engine",
        "value": {"spec": {"kind": "pull", "image": "python:3.13-slim"}},
    },
    "build": {
        "summary": "Build an image, once for each commit",
        "value": {
            "spec": {"kind": "build", "context": "examples/hello", "tags": ["hello:1"]},
            "key": "build-hello-4f2a9c1",
        },
    },
    "run": {
        "summary": "Run a container with limits, before all that is queued",
        "value": {
            "spec": {
                "kind": "run",
                "image": "python:3.13-slim",
                "command": ["python", "-c", "print(6 * 7)"],
                "memory": "512m",
                "cpus": 1.5,
            },
            "priority": "high",
            "timeout": "10m",
        },
    },
    "scan": {
        "summary": "Fail when an image has critical vulnerabilities",
        "value": {"spec": {"kind": "scan", "image": "python:3.13-slim", "fail_on": "CRITICAL"}},
    },
    "cleanup": {
        "summary": "In an hour, say what a cleanup of the Engine `local` would remove",
        "value": {
            "spec": {"kind": "cleanup", "images": True, "older_than": "7d", "dry_run": True},
            "engine": "local",
            "delay": "1h",
        },
    },
}
"""One request of each kind, for the API's description."""
