"""The Redis client: how long it is patient with a Redis that does not answer, and what it says then.

A worker rides an outage out, a producer reports it at once: both get the same client with another
`patience`. RQ keeps raw bytes, so the client never decodes. Where the primary is another one now, behind Sentinels or
behind an address that follows it, each call that finds that out goes on there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import redis
import redis.exceptions
from redis.backoff import ExponentialWithJitterBackoff
from redis.connection import AbstractConnection
from redis.retry import Retry

from dockbus import sentinels
from dockbus.errors import RedisUnavailable, SettingsError

T = TypeVar("T")


class _Patience(Retry):
    """Tries again until some seconds after the first try; redis-py's own counts tries, however long each takes."""

    def __init__(self, seconds: float) -> None:
        super().__init__(ExponentialWithJitterBackoff(cap=2.0, base=0.05), -1)
        self.seconds = seconds

    def __deepcopy__(self, memo: object) -> _Patience:
        """Itself: all connections of a client share one patience, so that it can end for all."""
        return self

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """Call `do` until it succeeds or patience ends."""
        begun = time.monotonic()

        def failed(error: Exception, *count: int) -> None:
            fail(error, *count)
            if time.monotonic() > begun + self.seconds:
                raise error

        return super().call_with_retry(do, failed, is_retryable, with_failure_count)


def connect(url: str, *, patience: float = 1.0) -> redis.Redis:
    """A client for `url`; nothing is sent yet.

    Args:
        url: `redis://…`, `rediss://…`, `unix://…`, or Sentinels: `redis+sentinel://…`, `rediss+sentinel://…`.
        patience: about how many seconds a call is tried again before it raises.

    Raises:
        SettingsError: the URL is malformed.
    """
    options: dict[str, Any] = {
        "retry": _Patience(patience),
        "retry_on_error": [
            redis.exceptions.ConnectionError,
            redis.exceptions.TimeoutError,
            redis.exceptions.ReadOnlyError,  # it was the primary: whoever connects anew gets the one that is
        ],
        "socket_connect_timeout": 5,
        # Longer than any blocking read (5 s); who is patient also waits longer for a Redis that is busy.
        "socket_timeout": 6 + min(patience, 14),
        "health_check_interval": 15,
    }
    try:
        if urlsplit(url).scheme in sentinels.SCHEMES:
            return sentinels.primary(url, redis_connect_func=_greet_primary, **options)
        return redis.Redis.from_url(url, redis_connect_func=_greet, **options)  # pyright: ignore[reportUnknownMemberType]
    except ValueError as error:
        raise SettingsError(f"DOCKBUS_REDIS_URL: {error}") from None


def _greet(connection: AbstractConnection) -> dict[str, str]:
    """Open a connection as redis-py does; returns what the server says of itself there, by name.

    Raises:
        ResponseError: it is there and can never be of use.
    """
    connection.on_connect_check_health(check_health=False)
    answer: dict[Any, Any] = connection.handshake_metadata or {}  # none before RESP3
    told = {_text(key): _text(value) for key, value in answer.items()}
    if (mode := told.get("mode", "").upper()) in _REFUSALS:
        raise redis.exceptions.ResponseError(f"{mode} {_REFUSALS[mode]}")
    return told


def _greet_primary(connection: AbstractConnection) -> None:
    """The same where Sentinels have named it: for a moment they may name one that is a replica by now."""
    if _greet(connection).get("role") == "replica":
        raise redis.exceptions.ConnectionError("Sentinels name a replica as the primary")


def _text(raw: object) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw)


_CLUSTER = "it is a Redis Cluster, and dockbus needs a single primary: with cluster mode off, and Sentinels if you like"
_REFUSALS = {
    "OOM": "its memory is full; raise its maxmemory",
    "READONLY": "it is a replica, which takes no changes; DOCKBUS_REDIS_URL must name the primary",
    "MASTERDOWN": "it is a replica that has lost its primary; DOCKBUS_REDIS_URL must name the primary",
    "MISCONF": "it cannot save to its disk, so it takes no changes; its own log says why",
    "NOREPLICAS": "too few of its replicas answer for it to take changes (min-replicas-to-write)",
    "BUSY": "a script that runs there keeps it busy",
    "LOADING": "it is still reading its data",
    "NOAUTH": "it wants a password; write it into DOCKBUS_REDIS_URL",
    "WRONGPASS": "it does not know this user or password; correct DOCKBUS_REDIS_URL",
    "NOPERM": "its ACL does not let this user do what dockbus does",
    "CLUSTER": _CLUSTER,
    "MOVED": _CLUSTER,
    "CROSSSLOT": _CLUSTER,
    "CLUSTERDOWN": _CLUSTER,
    "SENTINEL": f"it is a Sentinel; write {sentinels.FORM} into DOCKBUS_REDIS_URL",
}
"""What it means when Redis answers with one of these codes: it is there and of no use, whatever is asked for."""

_IN_SCRIPTS = {
    "ACL failure in script": "NOPERM",
    "The user executing the script can't": "NOPERM",  # Redis 7.0
    "access a non local key in a cluster": "MOVED",
}
"""What Redis says, from within a script, in place of a code."""


def hurry(client: redis.Redis) -> None:
    """From now on, and for calls that are under way, let the client of `connect` be patient no longer."""
    cast("_Patience", client.get_retry()).seconds = 0.0


@contextmanager
def reachable() -> Generator[None]:
    """Turn what redis-py raises when Redis is away, or is there and refuses, into `RedisUnavailable`."""
    try:
        yield
    except (
        redis.exceptions.ConnectionError,
        redis.exceptions.TimeoutError,
        redis.exceptions.ResponseError,
    ) as error:
        code = _code(error)
        if code in _REFUSALS:
            raise RedisUnavailable(f"{_REFUSALS[code]} ({code})") from error
        if isinstance(error, redis.exceptions.ResponseError):  # of a single command: a bug
            raise
        raise RedisUnavailable(str(error)) from error


def _code(error: redis.exceptions.RedisError) -> str:
    """The word with which the answer of Redis begins; redis-py takes some away and leaves others."""
    text = str(error).rpartition(" of pipeline caused error: ")[2]
    for phrase, code in _IN_SCRIPTS.items():
        if phrase in text:
            return code
    return error.status_code or text.partition(" ")[0]


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
