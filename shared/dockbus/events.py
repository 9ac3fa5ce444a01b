"""Events: facts that have happened, in CloudEvents 1.0 envelopes, in one capped and replayable Redis Stream.

An event is never an order. `source` and `id` together name it for ever: publishing the same pair again within the
window changes nothing, so a publisher that does not know whether it was heard says it again. The stream is capped
by number and by age; who asks for what is no longer there is told so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from redis import Redis
from redis.exceptions import ResponseError

from dockbus.connection import Row, reachable, read_stream
from dockbus.ids import BEGINNING, StreamId
from dockbus.tally import script

STREAM = "dockbus:events"
ENGINES = "/engines/"
"""Events of Engines have this source, followed by the Engine's name; those of dockbus itself have others."""
CONTAINER = "io.dockbus.docker.container."
"""What the types of all events about containers begin with."""
RESYNCED = "io.dockbus.engine.resynced"
"""All that an Engine holds has been compared with what was told of it."""
GAP = "io.dockbus.engine.gap"
"""Events of an Engine may be missing."""
WINDOW = 600.0
"""Seconds for which an event's source and id are remembered: longer than anybody tries to publish one event. Each takes memory of Redis."""
LONG_WINDOW = 24 * 3600.0
"""The same for what may be told again much later, such as by the next of several schedulers."""

_PUBLISH = """
if redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[3]) then
  if ARGV[4] ~= '' then count(ARGV[4], 1) end
  return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'e', ARGV[1])
end
return false
"""


class Event(BaseModel):
    """One fact. The fields are those of CloudEvents 1.0, structured JSON mode."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(default_factory=lambda: uuid4().hex, min_length=1)
    """Unique within its source."""
    source: str = Field(min_length=1)
    """Who observed it: `/dockbus/jobs`, `/engines/NAME`."""
    type: str = Field(min_length=1)
    """What happened: `io.dockbus.job.started`, `io.dockbus.docker.container.die`."""
    subject: str = ""
    """What it happened to: a job's ID, a container's."""
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    datacontenttype: Literal["application/json"] = "application/json"
    data: dict[str, JsonValue] = {}


class StoredEvent(BaseModel):
    """An event and its place in the stream."""

    model_config = ConfigDict(frozen=True)
    position: StreamId
    event: Event


class EventStream:
    """The bus's events."""

    def __init__(self, redis: Redis, *, keep: int = 100_000, age: float = 0.0) -> None:
        """The events in that Redis; about `keep` of them are kept, none for much longer than `age` seconds (0: for ever)."""
        self._redis = redis
        self._keep = keep
        self._age = age
        self._publish = redis.register_script(script(_PUBLISH))

    def publish(
        self, event: Event, *, window: float = WINDOW, counted: str = ""
    ) -> StreamId | None:
        """Add an event; None if it was published within the last `window` seconds.

        Args:
            event: what to add.
            window: seconds.
            counted: a sample of the tally that is raised by one where the event is new.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        seen = f"{STREAM}:seen:{event.source}:{event.id}"
        with reachable():
            position: Any = self._publish(
                [STREAM, seen],
                [event.model_dump_json(), self._keep, round(window * 1000), counted],
            )
        return StreamId(position.decode()) if position else None

    def read(
        self, after: StreamId = BEGINNING, *, count: int = 500, block: float = 0.0
    ) -> list[StoredEvent]:
        """Events after that position, oldest first; waits up to `block` seconds for the first.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        while rows := self.rows(after, count=count, block=block):
            if events := parse_rows(rows):
                return events
            after, block = place(rows[-1]), 0.0  # nothing of ours among them: look past them
        return []

    def rows(self, after: StreamId, *, count: int = 500, block: float = 0.0) -> list[Row]:
        """The same as they lie there, also what is no event of ours."""
        return read_stream(self._redis, STREAM, after, count=count, block=block)

    def end(self) -> StreamId:
        """The position of the newest event; reading after it gives only what happens from now on."""
        with reachable():
            rows: Any = self._redis.xrevrange(STREAM, count=1)
        return StreamId(rows[0][0].decode()) if rows else BEGINNING

    def kept(self, after: StreamId = BEGINNING) -> Iterator[StoredEvent]:
        """Events after that position that are there, to the last."""
        while batch := self.read(after):
            yield from batch
            after = batch[-1].position

    def gone(self, after: StreamId) -> StreamId | None:
        """The position of the oldest event kept, where some between `after` and it may be gone; else None.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        if after == BEGINNING:  # all that are kept
            return None
        try:
            with reachable():
                info: Any = self._redis.xinfo_stream(STREAM)
        except ResponseError:  # there is no stream
            return None
        if info["entries-added"] == info["length"]:
            return None
        oldest = info["first-entry"][0] if info["first-entry"] else info["last-generated-id"]
        found = StreamId(oldest.decode())
        return found if order(after) < order(found) else None

    def trim(self) -> None:
        """Remove what is too old. Whoever publishes all the time calls this every minute or so.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        if self._age:
            with reachable():
                now: Any = self._redis.time()  # pyright: ignore[reportUnknownMemberType]
                self._redis.xtrim(STREAM, minid=round((now[0] - self._age) * 1000))


def order(position: StreamId) -> tuple[int, int]:
    """What positions are sorted by."""
    millis, _, number = position.partition("-")
    return int(millis), int(number or 0)


def place(row: Row) -> StreamId:
    """The position of a row."""
    return StreamId(row[0].decode())


def parse_rows(rows: list[Row]) -> list[StoredEvent]:
    """Events from the rows of a stream read; a row that is no event of ours is left out."""
    events: list[StoredEvent] = []
    for position, fields in rows:
        with contextlib.suppress(KeyError, ValidationError):
            event = Event.model_validate_json(fields[b"e"])
            events.append(StoredEvent(position=place((position, fields)), event=event))
    return events
