"""One Engine's events, on the bus as CloudEvents: each once, from where the last reader stopped.

Two threads. The reader only reads and never waits on Redis, for a subscriber that stalls slows the whole Engine;
the publisher takes what was read from a bounded backlog, and moves the cursor in Redis after it has published.

What can be lost: the Engine remembers its newest 256 events, healthcheck noise included, and only until it
restarts. What it forgot while nobody read, and what does not fit the backlog while Redis is away (or is in it when
this process dies), is gone. None of this is silent: the Engine is asked for the cursor's own event at every
reconnect, and where it is missing or the backlog overflowed, `io.dockbus.engine.gap` is published.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from pydantic import JsonValue

from dockbus.bus import Bus
from dockbus.connection import reachable
from dockbus.engine import (
    Engine,
    EngineError,
    EngineEvent,
    EngineTimeout,
    EngineUnavailable,
    Stream,
)
from dockbus.errors import RedisUnavailable
from dockbus.events import Event

log = logging.getLogger(__name__)
T = TypeVar("T")

BACKLOG = 10_000
"""Events kept in memory while Redis is away; the oldest go first."""
OVERLAP = 2 * 10**9
"""Nanoseconds before the cursor that are read again: events of one moment come in any order. The bus drops doubles."""
HEALTHY = 60.0
"""Seconds after which a connection counts as good, and the next back-off starts small."""
GAP = "io.dockbus.engine.gap"


@dataclass(frozen=True)
class Cursor:
    """The last event that was read. Without a fingerprint it is only a time: there is no event to look for."""

    engine_id: str
    time_nano: int
    fingerprint: str = ""

    @property
    def since(self) -> str:
        """Where to read on from, as the Engine wants it."""
        return _stamp(self.time_nano - (OVERLAP if self.fingerprint else 0))


class DockerEvents:
    """The reader and publisher of one Engine. Any number may run for one Engine: the bus keeps one of each event."""

    def __init__(self, engine: Engine, bus: Bus) -> None:
        self.read_to = Cursor("", 0)
        self.backlog: deque[Event] = deque(maxlen=BACKLOG)
        self.dropped = 0
        """Events that the backlog could not hold."""
        self.connected: bool | None = None
        """Whether the Engine's stream is open; None before the first try."""
        self.redis_away = False
        self._engine = engine
        self._bus = bus
        self._key = f"dockbus:cursor:{engine.name}"
        self._source = f"/engines/{engine.name}"
        self._stream: Stream[EngineEvent] | None = None
        self._stopping = threading.Event()
        self._wake = threading.Event()

    def run(self) -> None:
        """Read and publish until `stop` is called. Neither an Engine nor a Redis that is away ends it."""
        saved = self._insist(self._load)
        if saved is None:
            return
        self.read_to, reported = saved, 0
        reader = threading.Thread(
            target=self._read, name=f"events-{self._engine.name}", daemon=True
        )
        reader.start()
        while reader.is_alive() and not self._stopping.is_set():
            self._wake.wait(1.0)
            self._wake.clear()
            reached = self.read_to  # all up to here is in the backlog by now
            for _ in range(len(self.backlog)):
                self._publish(self.backlog.popleft())
            if lost := self.dropped - reported:
                reported += lost
                self._publish(self._gap("events were dropped while Redis was away", dropped=lost))
            if reached != saved and not self._stopping.is_set():
                self._insist(partial(self._save, reached))
                saved = reached
        reader.join(timeout=5.0)

    def stop(self) -> None:
        """End `run` at once, from any thread. What was read and not published will be read again."""
        self._stopping.set()
        self._wake.set()
        if stream := self._stream:
            stream.close()

    # -- the reader's thread ---------------------------------------------------------------

    def _read(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                self._follow()
            except EngineError as error:
                if self.connected is not False:
                    log.warning("Engine %s: %s Trying until it is back.", self._engine.name, error)
                self.connected = False
            if time.monotonic() - begun > HEALTHY:
                failures = 0
            self._stopping.wait(random.uniform(0, min(30.0, 0.8 * 2**failures)))  # noqa: S311  jitter
            failures = min(failures + 1, 10)

    def _follow(self) -> None:
        """Read until nothing more comes.

        Raises:
            EngineError: the Engine is away, or ended the stream: for a reader, every end is a disconnect.
        """
        engine_id = self._engine.info().id
        cursor = self.read_to
        with contextlib.closing(self._engine.events(since=cursor.since)) as stream:
            self._stream = stream
            if self._stopping.is_set():
                return
            if self.connected is False:
                log.info("Engine %s is back", self._engine.name)
            self.connected = True
            # Asked only now that the stream is open: whatever is forgotten from here on will be in it.
            if why := self._why_gap(cursor, engine_id):
                self._append(self._gap(why, since=_moment(cursor.time_nano).isoformat()))
            self.read_to = Cursor(engine_id, cursor.time_nano, "" if why else cursor.fingerprint)
            try:
                for event in stream:
                    mark = fingerprint(engine_id, event)
                    if not is_noise(event):
                        self._append(envelope(self._source, engine_id, mark, event))
                    self.read_to = Cursor(engine_id, event.time_nano, mark)
            except EngineTimeout:
                return  # a quiet Engine, or a dead connection: a new one tells
        if not self._stopping.is_set():
            raise EngineUnavailable("it ended its event stream")

    def _why_gap(self, cursor: Cursor, engine_id: str) -> str:
        if cursor.engine_id not in ("", engine_id):
            return f"another Engine answers now, {engine_id} instead of {cursor.engine_id}"
        if cursor.fingerprint and not self._remembers(cursor):
            return "the Engine has forgotten the last event that was read"
        return ""

    def _remembers(self, cursor: Cursor) -> bool:
        until = _stamp(cursor.time_nano)
        history = self._engine.events(since=cursor.since, until=until, idle=5.0)
        # Where the Engine's clock was set back, `until` is still to come and the history does not end.
        with contextlib.closing(history), contextlib.suppress(EngineTimeout):
            return any(fingerprint(cursor.engine_id, e) == cursor.fingerprint for e in history)
        return False

    def _append(self, event: Event) -> None:
        if len(self.backlog) == BACKLOG:
            self.dropped += 1
        self.backlog.append(event)
        self._wake.set()

    def _gap(self, why: str, **details: JsonValue) -> Event:
        log.warning("Engine %s: gap in its events: %s", self._engine.name, why)
        facts: dict[str, JsonValue] = {"engine": self._engine.name, "reason": why, **details}
        return Event(source=self._source, type=GAP, subject=self._engine.name, data=facts)

    # -- the publisher's thread ------------------------------------------------------------

    def _load(self) -> Cursor:
        raw: Any = self._bus.redis.hgetall(self._key)
        found = {key.decode(): value.decode() for key, value in raw.items()}
        if not found:  # the first start ever begins now
            return Cursor("", time.time_ns())
        return Cursor(found["engine_id"], int(found["time_nano"]), found["fingerprint"])

    def _save(self, cursor: Cursor) -> object:
        fields: dict[Any, Any] = asdict(cursor)
        return self._bus.redis.hset(self._key, mapping=fields)

    def _publish(self, event: Event) -> None:
        self._insist(partial(self._bus.publish, event))

    def _insist(self, call: Callable[[], T]) -> T | None:
        """What `call` gives, as soon as Redis answers; None when told to stop before."""
        while not self._stopping.is_set():
            try:
                with reachable():
                    result = call()
            except RedisUnavailable as error:
                if not self.redis_away:
                    log.warning("Redis is away, events are kept in memory: %s", error.detail)
                self.redis_away = True
                self._stopping.wait(1.0)
            else:
                if self.redis_away:
                    log.info("Redis is back, %d events are waiting", len(self.backlog))
                self.redis_away = False
                return result
        return None


def is_noise(event: EngineEvent) -> bool:
    """Whether it says only that somebody looked: healthchecks alone would drown everything else."""
    return event.action.startswith("exec_") or event.action in ("top", "attach", "resize")


def fingerprint(engine_id: str, event: EngineEvent) -> str:
    """What names this event for ever, whoever reads it and however often."""
    facts = (
        engine_id,
        event.type,
        event.action,
        event.actor,
        str(event.time_nano),
        event.attributes.get("execID", ""),
    )
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:20]


def envelope(source: str, engine_id: str, mark: str, event: EngineEvent) -> Event:
    """An Engine's event as the bus carries it.

    `attributes` holds the container's or image's labels too, and a label may pose as any other attribute: whoever
    acts on an exit code or an image must ask the Engine again.
    """
    attributes = event.attributes
    name = attributes.get("name", "")
    image = attributes.get("image", "")
    if event.type == "image":
        name = image = name if event.actor.startswith("sha256:") else event.actor
    data: dict[str, JsonValue] = {
        "engine": source.removeprefix("/engines/"),
        "engineId": engine_id,
        "id": event.actor,
        "name": name,
        "image": image,
        "action": event.action,
        "attributes": {**attributes},
    }
    with contextlib.suppress(KeyError, ValueError):
        data["exitCode"] = int(attributes["exitCode"])
    return Event(
        id=mark,
        source=source,
        type=f"io.dockbus.docker.{event.type}.{event.action.replace(': ', '.')}",
        subject=event.actor,
        time=_moment(event.time_nano),
        data=data,
    )


def _moment(nano: int) -> datetime:
    seconds, rest = divmod(nano, 10**9)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def _stamp(nano: int) -> str:
    seconds, rest = divmod(nano, 10**9)
    return f"{seconds}.{rest:09d}"
