"""Job logs as a worker would have written them, without one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis import Redis

from dockbus.joblog import KEY, LogLine, Progress, encode


def write(redis: Redis, job: str, entries: Iterable[LogLine | Progress]) -> None:
    """Append entries to the log of a job."""
    for entry in entries:
        fields: Any = encode(entry)
        redis.xadd(KEY + job, fields)  # pyright: ignore[reportUnknownMemberType]


def end(redis: Redis, job: str, ttl: int = 60) -> None:
    """Mark the end of a log."""
    redis.xadd(KEY + job, {"e": "1"})  # pyright: ignore[reportUnknownMemberType]
    redis.expire(KEY + job, ttl)
