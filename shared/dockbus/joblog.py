"""A job's log and progress: one capped Redis Stream per job, readable live and from any earlier point.

Three things are written to it: lines, progress, and one end mark, which lets a follower stop without asking
for the job's state. A follower that misses the mark (the worker was killed) is told by its `ended` callback.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from redis import Redis

from dockbus.connection import Row, reachable, read_stream
from dockbus.ids import BEGINNING, JobId, StreamId

KEY = "dockbus:log:"
"""What a job's ID follows in the name of its log."""

Stream = Literal["stdout", "stderr", "system"]
"""Who wrote a line: the program, its error output, or dockbus itself."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    id: StreamId = BEGINNING
    """Where it stands in the log; give the last one seen to read on from there."""

    @property
    def time(self) -> datetime:
        """When the bus received it."""
        return datetime.fromtimestamp(int(self.id.split("-")[0]) / 1000, UTC)


class LogLine(_Entry):
    """One line of output."""

    type: Literal["log"] = "log"
    stream: Stream
    text: str
    stamp: str = ""
    """The Engine's own timestamp of a container's line, with nanoseconds."""


class Progress(_Entry):
    """How far one part of the work has come."""

    type: Literal["progress"] = "progress"
    step: str
    """What is being worked on: a layer, a build step."""
    status: str
    current: int = 0
    total: int = 0
    """0 where it is not known."""
    unit: Literal["bytes", "steps"] = "bytes"


class JobLog:
    """The log of one job."""

    def __init__(self, redis: Redis, job: JobId) -> None:
        self._redis = redis
        self._key = KEY + job

    def last_stamps(self) -> dict[Stream, str]:
        """The Engine timestamp of the newest line of each stream that has one."""
        found: dict[Stream, str] = {}
        end = "+"
        while rows := cast("list[Any]", self._redis.xrevrange(self._key, end, count=1000)):
            for _, fields in rows:
                for short, stream in _LONG.items():
                    if b"n" in fields and short.encode() in fields:
                        found.setdefault(stream, str(fields[b"n"].decode()))
            if len(found) > 1:
                break
            end = f"({rows[-1][0].decode()}"
        return found

    def newest(self) -> StreamId:
        """Where the log stands now, just before its newest entry, so that an end mark there is still read."""
        with reachable():
            rows: Any = self._redis.xrevrange(self._key, count=2)
        return StreamId(rows[-1][0].decode()) if len(rows) > 1 else BEGINNING

    def read(
        self, after: StreamId = BEGINNING, *, count: int = 1000, block: float = 0.0
    ) -> tuple[list[LogLine | Progress], bool]:
        """Entries after that one, and whether the log ends with them; waits up to `block` seconds for the first.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        while rows := read_stream(self._redis, self._key, after, count=count, block=block):
            entries = [entry for row in rows if (entry := _decode(row))]
            ended = b"e" in rows[-1][1]
            if entries or ended:
                return entries, ended
            after, block = StreamId(rows[-1][0].decode()), 0.0  # nothing of ours: look past it
        return [], False

    def follow(
        self,
        after: StreamId = BEGINNING,
        *,
        ended: Callable[[], bool],
        deadline: float | None = None,
    ) -> Iterator[LogLine | Progress]:
        """Entries as they come, to the end of the job or to `deadline` (`time.monotonic` seconds).

        Args:
            after: the last entry already seen.
            ended: whether the job has ended; asked at first and whenever the log has been silent for a while.
            deadline: when to give up.
        """
        has_ended = ended()  # asked before a read: what came before the end is then still read
        while True:
            wait = 1.0 if deadline is None else min(1.0, deadline - time.monotonic())
            if wait <= 0:
                return
            entries, marked = self.read(after, block=0.0 if has_ended else wait)
            for entry in entries:
                after = entry.id
                yield entry
            if marked or (has_ended and not entries):
                return
            has_ended = has_ended or (not entries and ended())


_SHORT = {"stdout": "o", "stderr": "r", "system": "s"}
_LONG: dict[str, Stream] = {"o": "stdout", "r": "stderr", "s": "system"}


def encode(entry: LogLine | Progress) -> dict[str, str]:
    """The fields of an entry; short names, since a busy job writes many thousands of these."""
    if isinstance(entry, LogLine):
        return {_SHORT[entry.stream]: entry.text} | ({"n": entry.stamp} if entry.stamp else {})
    return {"p": entry.model_dump_json(exclude={"id", "type"}, exclude_defaults=True)}


def _decode(row: Row) -> LogLine | Progress | None:
    """The entry of a row; None for the end mark and for what is not ours."""
    ident = StreamId(row[0].decode())
    fields = {k.decode("utf-8", "replace"): v.decode("utf-8", "replace") for k, v in row[1].items()}
    if "p" in fields:
        try:
            return Progress.model_validate_json(fields["p"]).model_copy(update={"id": ident})
        except ValidationError:
            return None
    key = next((key for key in fields if key in _LONG), None)
    return (
        LogLine(id=ident, stream=_LONG[key], text=fields[key], stamp=fields.get("n", ""))
        if key
        else None
    )
