"""The bodies of requests about jobs, read strictly from the bytes that were sent.

FastAPI would parse the JSON first and validate Python objects, and strict models refuse the strings that JSON
has for enums then. So the bytes are read here, counted as they come, and parsed in a thread of their own, since
a thousand orders take a while.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

from dockbus import Order
from dockbus.errors import InvalidSpec
from dockbus.jobs import Spec, explain
from dockbus_producer.api.problems import BodyTooLarge

MAX_BYTES = 1024 * 1024
"""Most bytes a body may have."""
MAX_BATCH_BYTES = 8 * MAX_BYTES
"""Most bytes the body of a batch may have."""
MAX_BATCH = 1000
"""Most orders in a batch."""

M = TypeVar("M", bound=BaseModel)

Key = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class JobRequest(Order):
    """A job to put on the bus: what to do, and how."""

    spec: Spec
    """What to do."""
    key: Key | None = None
    """Idempotency key: while the first job with it is kept, the same key and spec return that job. The header
    `Idempotency-Key` says the same."""


class _Body(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


class BatchRequest(_Body):
    """Many jobs to put on the bus at once."""

    orders: list[JobRequest] = Field(max_length=MAX_BATCH)
    """The jobs. Give each a `key`, and the same batch may be sent again after an error."""
    chain: bool = False
    """Whether each is to wait for the one before it."""


class ReplayRequest(_Body):
    """How a job that is ordered again is to differ."""

    edits: dict[str, JsonValue] = {}
    """Fields of its spec to change. Without any, it is ordered again once only."""


async def _small(request: Request) -> bytes:
    return await _read(request, MAX_BYTES)


async def _large(request: Request) -> bytes:
    return await _read(request, MAX_BATCH_BYTES)


IdempotencyKey = Annotated[
    Key | None, Header(alias="Idempotency-Key", description="The same as `key`.")
]


def read_job_request(
    body: Annotated[bytes, Depends(_small)], idempotency_key: IdempotencyKey = None
) -> JobRequest:
    """The job request in the body.

    Raises:
        BodyTooLarge: there is more of it than `MAX_BYTES`.
        InvalidSpec: it is none, or it has another key than the header.
    """
    asked = _parse(JobRequest, body)
    if idempotency_key and asked.key not in (None, idempotency_key):
        raise InvalidSpec(f"key: {asked.key!r} is not the Idempotency-Key {idempotency_key!r}")
    return asked.model_copy(update={"key": idempotency_key or asked.key})


def read_batch(request: Request, body: Annotated[bytes, Depends(_large)]) -> BatchRequest:
    """The batch in the body.

    Raises:
        BodyTooLarge: there is more of it than `MAX_BATCH_BYTES`.
        InvalidSpec: it is none; every wrong order is named by its place, the first is 0.
    """
    if "Idempotency-Key" in request.headers:
        raise InvalidSpec("Idempotency-Key: it is for one job; give each order a key of its own")
    return _parse(BatchRequest, body)


def read_replay(body: Annotated[bytes, Depends(_small)]) -> ReplayRequest:
    """What the body says of a replay; it may be empty.

    Raises:
        BodyTooLarge: there is more of it than `MAX_BYTES`.
        InvalidSpec: it is something else.
    """
    return _parse(ReplayRequest, body) if body else ReplayRequest()


async def _read(request: Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise BodyTooLarge(f"at most {most} bytes are read")
    return bytes(body)


def _parse(model: type[M], body: bytes) -> M:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise InvalidSpec(explain(error)) from None


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
    "restart": {
        "summary": "Restart a container, if it is still unhealthy then",
        "value": {
            "spec": {
                "kind": "restart",
                "container": "shop-web-1",
                "only_if": "container.health == 'unhealthy'",
                "timeout": "30s",
            },
            "engine": "local",
        },
    },
    "stop": {
        "summary": "Stop a container, if it still runs since that very moment",
        "value": {
            "spec": {
                "kind": "stop",
                "container": "shop-web-1",
                "started": "2026-11-21T12:00:00.123456Z",
            }
        },
    },
    "start": {
        "summary": "Start a container, if it ended with an error",
        "value": {
            "spec": {
                "kind": "start",
                "container": "shop-web-1",
                "only_if": "container.exit_code != 0",
            }
        },
    },
    "remove": {
        "summary": "Remove a container and its anonymous volumes",
        "value": {"spec": {"kind": "remove", "container": "shop-web-1", "volumes": True}},
    },
    "exec": {
        "summary": "Run a command in a container that runs",
        "value": {
            "spec": {
                "kind": "exec",
                "container": "shop-db-1",
                "command": ["pg_dump", "--file", "/backup/shop.sql", "shop"],
                "user": "postgres",
            },
            "timeout": "1h",
        },
    },
}
"""One request of each kind, for the API's description."""

BATCH_EXAMPLES: dict[str, dict[str, Any]] = {
    "chain": {
        "summary": "Build an image, then scan it, then run it",
        "value": {
            "orders": [
                {
                    "spec": {"kind": "build", "context": "examples/hello", "tags": ["hello:1"]},
                    "key": "build-hello-4f2a9c1",
                },
                {
                    "spec": {"kind": "scan", "image": "hello:1"},
                    "key": "scan-hello-4f2a9c1",
                },
                {
                    "spec": {"kind": "run", "image": "hello:1"},
                    "key": "run-hello-4f2a9c1",
                    "exclusive": "hello",
                    "retry": {"max": 5},
                },
            ],
            "chain": True,
        },
    },
}
REPLAY_EXAMPLES: dict[str, dict[str, Any]] = {
    "same": {"summary": "The same again", "value": {}},
    "more memory": {"summary": "With more memory", "value": {"edits": {"memory": "2g"}}},
}
