"""The Redis client: how long it is patient with a Redis that does not answer, and what it says then.

A worker rides an outage out, a producer reports it at once: both get the same client with another
`patience`. RQ keeps raw bytes, so the client never decodes.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import redis
import redis.exceptions
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from dockbus.errors import RedisUnavailable, SettingsError

_CAP = 2.0  # seconds; the mean wait of a retry is half of it


def connect(url: str, *, patience: float = 1.0) -> redis.Redis:
    """A client for `url`; nothing is sent yet.

    Args:
        url: `redis://…`, `rediss://…` or `unix://…`.
        patience: about how many seconds a call is tried again before it raises.

    Raises:
        SettingsError: the URL is malformed.
    """
    tries = max(2, round(patience / (_CAP / 2)) + 3)
    try:
        return redis.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            retry=Retry(ExponentialWithJitterBackoff(cap=_CAP, base=0.05), tries),
            retry_on_error=[redis.exceptions.ConnectionError, redis.exceptions.TimeoutError],
            socket_connect_timeout=5,
            socket_timeout=20,
            health_check_interval=15,
        )
    except ValueError as error:
        raise SettingsError(f"DOCKBUS_REDIS_URL: {error}") from None


@contextmanager
def reachable() -> Generator[None]:
    """Turn what redis-py raises when Redis is away, starting or read-only into `RedisUnavailable`."""
    try:
        yield
    except (
        redis.exceptions.ConnectionError,
        redis.exceptions.TimeoutError,
        redis.exceptions.ReadOnlyError,
        redis.exceptions.OutOfMemoryError,
    ) as error:
        raise RedisUnavailable(str(error)) from error


Row = tuple[bytes, dict[bytes, bytes]]
"""One entry of a Redis Stream: its ID and its fields."""


def read_stream(
    client: redis.Redis, key: str, after: str, *, count: int, block: float
) -> list[Row]:
    """Entries of a stream after an ID, oldest first; waits up to `block` seconds for the first (0: not at all).

    Raises:
        RedisUnavailable: Redis does not answer.
    """
    with reachable():
        answer: Any = client.xread({key: after}, count=count, block=round(block * 1000) or None)
    return stream_rows(answer, key)


def stream_rows(answer: Any, key: str) -> list[Row]:  # noqa: ANN401  redis-py's answers are untyped
    """The entries of one stream in the answer to XREAD or XREADGROUP."""
    if not answer:
        return []
    # RESP3 answers with a dict, RESP2 with a list of pairs.
    rows: Any = answer[key.encode()][0] if hasattr(answer, "keys") else answer[0][1]
    return cast("list[Row]", rows)


def ping(client: redis.Redis) -> None:
    """Ask whether Redis is there.

    Raises:
        RedisUnavailable: it does not answer.
    """
    with reachable():
        client.ping()  # pyright: ignore[reportUnknownMemberType]
