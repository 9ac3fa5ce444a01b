"""Reading events: from which place on, which of them, and what is no longer there.

A reader holds its place, so one that met an outage goes on where it was. Which events are wanted is decided here, after
they have come from Redis: a stream has one order and no index.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from dockbus.errors import DockbusError
from dockbus.events import Event, EventStream, StoredEvent, parse_rows, place
from dockbus.ids import StreamId
from dockbus.units import parse_span

log = logging.getLogger(__name__)

Since = str | datetime | timedelta
"""Where to begin: after a position, at a moment, or so long ago; as text, such as `1700000000000-0`,
`2026-11-22T07:44:00Z` or `10m`. A moment without a time zone is one of this machine's clocks."""
CHECK = 1.0
"""Seconds after which a reader asks again whether its place is still there."""


class NoSuchPlace(DockbusError, ValueError):
    """This is no place in the event stream.

    Give a position such as 1700000000000-0, a moment such as 2026-11-22T07:44:00Z, or how long ago, such as 10m.
    """


def position_of(since: Since, now: datetime | None = None) -> StreamId:
    """The position after which the events since then are.

    Raises:
        NoSuchPlace: it cannot be made out.
    """
    if isinstance(since, str):
        position = re.fullmatch(r"[0-9]{1,19}(?:-([0-9]{1,20}))?", since)
        if position and int(position[1] or 0) < 2**64:
            return StreamId(since)
        since = _moment_or_span(since)
    try:
        if isinstance(since, timedelta):
            since = (now or datetime.now(UTC)) - since
        millis = round(since.timestamp() * 1000)
    except (OverflowError, ValueError, OSError):
        raise NoSuchPlace(str(since)) from None
    # Positions begin with the millisecond, by Redis' clock, in which the event came.
    return StreamId(f"{millis - 1}-{2**64 - 1}" if millis > 0 else "0")


def _moment_or_span(text: str) -> datetime | timedelta:
    try:
        return timedelta(seconds=float(str(parse_span(text))))
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise NoSuchPlace(repr(text)) from None


@dataclass(frozen=True)
class EventFilter:
    """Which events are wanted: a glob or several in each respect, one of which must match; none means any."""

    types: str | Sequence[str] = ()
    sources: str | Sequence[str] = ()
    subjects: str | Sequence[str] = ()

    def match(self, event: Event) -> bool:
        """Whether this event is."""
        return (
            _matches(event.type, self.types)
            and _matches(event.source, self.sources)
            and _matches(event.subject, self.subjects)
        )


def _matches(value: str, globs: str | Sequence[str]) -> bool:
    wanted = (globs,) if isinstance(globs, str) else globs
    return not wanted or any(fnmatchcase(value, glob) for glob in wanted)


class EventReader(Iterator[StoredEvent]):
    """Events after a position, one after the other: those that are there, and with `follow` all to come.

    Whoever asks for the next one may meet `RedisUnavailable`, and may ask again.
    """

    def __init__(
        self,
        stream: EventStream,
        after: StreamId,
        wanted: EventFilter = EventFilter(),
        *,
        follow: bool = True,
    ) -> None:
        self.position = after
        """Up to here all is read."""
        self.gone: StreamId | None = None
        """None, or the position before which events were removed that this reader had not read yet."""
        self.at_end = False
        """Whether the last look found nothing more, wanted or not."""
        self._stream = stream
        self._wanted = wanted
        self._follow = follow
        self._batch: deque[StoredEvent] = deque()
        self._checked = 0.0
        self._check()

    def __next__(self) -> StoredEvent:
        """The next event; waits for it if this reader follows."""
        while not self._batch:
            self._batch.extend(self.look(block=5.0 if self._follow else 0.0))
            if self.at_end and not self._follow:
                raise StopIteration
        return self._batch.popleft()

    def look(self, *, block: float = 0.0) -> list[StoredEvent]:
        """What is wanted of the next events, some hundreds at most; waits up to `block` seconds for the first.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        if time.monotonic() > self._checked + CHECK:
            self._check()
        rows = self._stream.rows(self.position, block=block)
        self.at_end = not rows
        self.position = place(rows[-1]) if rows else self.position
        return [stored for stored in parse_rows(rows) if self._wanted.match(stored.event)]

    def _check(self) -> None:
        oldest = self._stream.gone(self.position)
        self._checked = time.monotonic()
        if oldest and oldest != self.gone:
            log.warning(
                "events before %s are gone; they were removed before they were read", oldest
            )
            self.gone = oldest
