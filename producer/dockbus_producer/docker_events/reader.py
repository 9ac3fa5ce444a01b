"""Reading one Engine's stream, in a thread that waits for nothing else: a subscriber that stalls slows the whole Engine.

That thread only takes what comes off the wire; whoever wants to know makes events of it with `take_in`, and while nobody
can, with Redis away, nobody does, until it is a megabyte. They go into a bounded backlog, oldest out first. The cursor is the last event that was heard, noise
included. After a pause the Engine is asked for the cursor's own event: where it has forgotten that, it has forgotten
what came after it, too. This, an overflow and another Engine's ID are gaps.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dockbus.engine import (
    Engine,
    EngineError,
    EngineEvent,
    EngineTimeout,
    EngineUnavailable,
    Stream,
)
from dockbus.engine.streams import Lines
from dockbus_producer.docker_events.envelope import fingerprint, is_noise, stamp

log = logging.getLogger(__name__)

BACKLOG = 10_000
"""Events kept in memory while Redis is away, or while another process leads; the oldest go first."""
OVERLAP = 2 * 10**9
"""Nanoseconds before the cursor that are read again: events of one moment come in any order."""
HEALTHY = 60.0
"""Seconds after which a connection counts as good, and the next back-off starts small."""
IDLE = 60.0
"""Seconds of silence after which a connection is opened anew: a dead one is silent, too."""
MOST = 1024**2
"""Bytes that may have arrived and not been taken in."""
ABSENT = 0.05
"""Seconds after which what has arrived and was not taken in shows that nobody can: there is no hurry then."""
PAUSE = 0.05
"""Seconds between two looks at the wire while there is none: to be woken for each event would slow the Engine's machine. What
comes meanwhile is well below what the wire holds."""
_KNOWN = 5_000
"""Fingerprints that a reader remembers."""


@dataclass(frozen=True)
class Cursor:
    """The last event that was heard. Without a fingerprint it is only a time: there is no event to look for."""

    engine_id: str
    time_nano: int
    fingerprint: str = ""

    @property
    def since(self) -> str:
        """Where to read on from, as the Engine wants it."""
        return stamp(self.time_nano - (OVERLAP if self.fingerprint else 0))


@dataclass(frozen=True)
class Heard:
    """An event, and what names it."""

    engine_id: str
    mark: str
    event: EngineEvent


class Reader:
    """The reader of one Engine, from a cursor on."""

    def __init__(self, engine: Engine, since: Cursor, wake: threading.Event) -> None:
        """A reader that is not started.

        Args:
            engine: whose events.
            since: where to begin.
            wake: set whenever there is something new.
        """
        self.read_to = since
        self.backlog: deque[Heard] = deque(maxlen=BACKLOG)
        self.connected: bool | None = None
        """Whether the stream is open; None before the first try."""
        self.opened = 0
        """How often it was opened."""
        self.dropped = 0
        """Events that the backlog could not hold."""
        self.opened_at = 0.0
        """When it was last opened, by the monotonic clock."""
        self.gaps: deque[tuple[str, Cursor]] = deque(maxlen=100)
        """Why events may be missing after a cursor; to be taken out by whoever sees to it."""
        self._engine = engine
        self._wake = wake
        self._known: OrderedDict[str, None] = OrderedDict()
        self._lock, self._taking = threading.Lock(), threading.Lock()
        self._stream: Stream[bytes] | None = None
        self._arrived: deque[bytes] = deque()
        self._lines = Lines(chunked=False)
        self._engine_id = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"events-{engine.name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End at once, from any thread."""
        self._stopping.set()
        self.reopen()

    def join(self, timeout: float) -> None:
        """Wait until it has ended."""
        if self._thread.ident:
            self._thread.join(timeout)

    def reopen(self) -> None:
        """Let go of the stream; unless it is to stop, the reader opens it anew where it was."""
        if stream := self._stream:
            stream.close()

    @property
    def waiting(self) -> int:
        """How many events wait to be told, at least."""
        return len(self.backlog) + len(self._arrived)

    def take_in(self) -> None:
        """Make events of what has arrived until now."""
        with self._taking:
            while self._arrived:
                try:
                    lines = self._lines.feed(self._arrived.popleft())
                except ValueError:
                    log.exception("Engine %s: its stream cannot be read", self._engine.name)
                    self.reopen()
                    return
                for line in filter(None, lines):
                    self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        try:
            event = EngineEvent.parse(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            log.exception("Engine %s: passed over %r", self._engine.name, line[:1000])
            return
        mark = fingerprint(self._engine_id, event)
        self._take(self._engine_id, event, mark)
        self.read_to = Cursor(self._engine_id, event.time_nano, mark)

    def put_back(self, taken: Sequence[Heard]) -> None:
        """Have events that were taken out of the backlog in front of it again, the newest of them where there is no room for all."""
        with self._lock:
            room = BACKLOG - len(self.backlog)
            lost = max(0, len(taken) - room)
            self.dropped += lost
            self.backlog.extendleft(reversed(taken[lost:]))

    def missed(self, events: Iterable[EngineEvent], engine_id: str) -> int:
        """Take in what was asked for beside the stream; how many of these had not been heard."""
        self.take_in()
        return sum(self._take(engine_id, event, fingerprint(engine_id, event)) for event in events)

    # -- in its own thread -----------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                self._follow()
            except EngineError as error:
                if self.connected is not False and not self._stopping.is_set():
                    log.warning("Engine %s: %s Trying until it is back.", self._engine.name, error)
                self.connected = False
                self._wake.set()
            except Exception:
                log.exception("Engine %s: an event could not be read", self._engine.name)
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
        with contextlib.closing(self._engine.arrivals(since=cursor.since, idle=IDLE)) as stream:
            self._stream = stream
            if self._stopping.is_set():
                return
            # Asked only now that the stream is open: whatever is forgotten from here on will be in it.
            why = self._why_gap(cursor, engine_id)
            if why:
                self.gaps.append((why, cursor))
            self.read_to = Cursor(engine_id, cursor.time_nano, "" if why else cursor.fingerprint)
            self._engine_id, self._lines = engine_id, Lines(chunked=stream.chunked)
            if self.connected is False:
                log.info("Engine %s is back", self._engine.name)
            self.connected = True
            self.opened, self.opened_at = self.opened + 1, time.monotonic()
            self._wake.set()
            try:
                self._collect(stream)
            except EngineTimeout:
                return  # a quiet Engine, or a dead connection: a new one tells
            finally:
                self.take_in()
        if not self._stopping.is_set():
            raise EngineUnavailable("it ended its event stream")

    def _collect(self, stream: Stream[bytes]) -> None:
        size, since = 0, 0.0
        for data in stream:
            now = time.monotonic()
            since = since if self._arrived else now
            self._arrived.append(data)
            self._wake.set()
            if now - since > ABSENT:
                self._stopping.wait(PAUSE)
            size += len(data)
            if size > MOST:
                self.take_in()
                size = 0

    def _why_gap(self, cursor: Cursor, engine_id: str) -> str:
        if cursor.engine_id not in ("", engine_id):
            return f"another Engine answers now, {engine_id} instead of {cursor.engine_id}"
        if cursor.fingerprint and not self._remembers(cursor):
            return "the Engine has forgotten the last event that was read"
        return ""

    def _remembers(self, cursor: Cursor) -> bool:
        until = stamp(cursor.time_nano)
        history = self._engine.events(since=cursor.since, until=until, idle=5.0)
        # Where the Engine's clock was set back, `until` is still to come and the history does not end.
        with contextlib.closing(history), contextlib.suppress(EngineTimeout):
            return any(fingerprint(cursor.engine_id, e) == cursor.fingerprint for e in history)
        return False

    def _take(self, engine_id: str, event: EngineEvent, mark: str) -> bool:
        if is_noise(event):
            return False
        with self._lock:
            if mark in self._known:
                return False
            self._known[mark] = None
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
            if len(self.backlog) == self.backlog.maxlen:
                self.dropped += 1
            self.backlog.append(Heard(engine_id, mark, event))
        self._wake.set()
        return True
