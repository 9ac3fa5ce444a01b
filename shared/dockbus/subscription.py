"""Subscriptions: events shared among the members of a group, each event handled by one of them, at least once.

Redis keeps a group's place and what each member has taken; an event is done when its member says so. What a member has
taken and not done in a minute goes to another: so an event may be seen twice, and none is left out, unless it was
removed from the stream before the group came to it, which is told.
"""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import itertools
import logging
import os
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from dockbus.connection import Row, reachable, stream_rows
from dockbus.event_reader import EventFilter
from dockbus.events import STREAM, EventStream, StoredEvent, parse_rows, place
from dockbus.ids import StreamId

log = logging.getLogger(__name__)

ABANDONED = 60.0
"""Seconds after which what a member has taken and not done goes to another."""
_number = itertools.count(1)

# Members come and go, each under a name of its own: forget those that have had nothing to do for an hour.
SWEEP = """
for _, member in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local facts = {}
  for i = 1, #member, 2 do facts[member[i]] = member[i + 1] end
  if facts.pending == 0 and facts.idle > 3600000 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], facts.name)
  end
end
"""


class Member:
    """A member of a group; for one thread. The group begins after `since` when its first member comes (None: now)."""

    def __init__(self, redis: Redis, group: str, since: StreamId | None = None) -> None:
        self.gone: StreamId | None = None
        """None, or the position before which events were removed that the group had not come to yet."""
        self._redis: Any = redis
        self._group = group
        self._stream = EventStream(redis)
        self._name = f"{socket.gethostname()}-{os.getpid()}-{next(_number)}"
        self._position: str = since or "$"
        self._next_claim = 0.0
        self._sweep = redis.register_script(SWEEP)
        self._join()

    def take(self, *, count: int = 100, block: float = 0.0) -> list[Row]:
        """Rows for this member to do; waits up to `block` seconds for the first.

        What it has taken before and not done comes again, and its minute begins anew; what has gone to another in
        the meantime does not.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        try:
            with reachable():
                mine = self._read("0", count) or self._claim(count)
                rows = mine or self._read(">", count, round(block * 1000) or None)
        except ResponseError as error:
            if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise
            self._join()  # Redis has lost it
            return []
        self._position = place(rows[-1]) if rows and not mine else self._position
        return rows

    def done(self, positions: Iterable[StreamId]) -> None:
        """These are done.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        if given := list(positions):
            with reachable():
                self._redis.xack(STREAM, self._group, *given)

    def _join(self) -> None:
        try:
            with reachable():
                self._redis.xgroup_create(STREAM, self._group, self._position, mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # there it is
                raise

    def _read(self, after: str, count: int, block: int | None = None) -> list[Row]:
        answer = self._redis.xreadgroup(
            self._group, self._name, {STREAM: after}, count=count, block=block
        )
        rows = stream_rows(answer, STREAM)
        if after == ">":
            return rows
        # What was removed from the stream after it was taken is still listed, empty.
        self.done(place(row) for row in rows if not row[1])
        return [row for row in rows if row[1]]

    def _claim(self, count: int) -> list[Row]:
        """What another member has taken and left; asked for every now and then."""
        if time.monotonic() < self._next_claim:
            return []
        idle = round(ABANDONED * 1000)
        answer = self._redis.xautoclaim(STREAM, self._group, self._name, idle, count=count)
        rows: list[Row] = answer[1]
        if not rows:
            self._next_claim = time.monotonic() + ABANDONED / 2
            self._sweep([STREAM], [self._group])
            self._check()
        return rows

    def _check(self) -> None:
        for group in self._redis.xinfo_groups(STREAM):
            if group["name"].decode() == self._group:
                oldest = self._stream.gone(StreamId(group["last-delivered-id"].decode()))
                if oldest and oldest != self.gone:
                    log.warning(
                        "events before %s are gone; %s had not come to them", oldest, self._group
                    )
                    self.gone = oldest


class Subscription:
    """A member of the group of that name, to iterate over, for ever; each thread needs one of its own.

    An event is done when the loop asks for the next one. A loop that breaks off, or takes longer than a minute over
    one, leaves it to whoever asks then.
    """

    def __init__(
        self, redis: Redis, name: str, wanted: EventFilter, since: StreamId | None = None
    ) -> None:
        self._member = Member(redis, f"dockbus:subscription:{name}", since)
        self._wanted = wanted

    @property
    def gone(self) -> StreamId | None:
        """None, or the position before which events were removed that the group had not come to yet."""
        return self._member.gone

    def __iter__(self) -> Iterator[StoredEvent]:
        """The events for this member.

        Raises:
            RedisUnavailable: Redis does not answer; iterate again to go on.
        """
        while True:
            rows = self._member.take(block=5.0)
            taken = time.monotonic()
            events = [stored for stored in parse_rows(rows) if self._wanted.match(stored.event)]
            wanted = {stored.position for stored in events}
            self._member.done(place(row) for row in rows if place(row) not in wanted)
            for stored in events:
                yield stored
                self._member.done([stored.position])
                if time.monotonic() > taken + ABANDONED / 2:
                    break  # look first which of the others are still ours
