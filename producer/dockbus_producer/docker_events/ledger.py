"""What is kept of one Engine in Redis, and who may write it.

    dockbus:watch:ENGINE         hash: the cursor, and the epoch, which grows with each new leader
    dockbus:watch:ENGINE:lease   string: who leads, for some seconds
    dockbus:watch:ENGINE:seen    sorted set: what names the events of the last minutes, by their time in milliseconds

The lease says who works; it does not fence. The epoch does: each write carries its writer's, and Redis refuses all
but the newest, so that a leader which was frozen while another took over changes nothing.
"""

# redis-py's own annotations are partial; what comes from it is checked where it is parsed.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from secrets import token_hex
from typing import Any

from pydantic import ValidationError

from dockbus.bus import Bus
from dockbus.connection import reachable
from dockbus.events import STREAM
from dockbus.snapshot import ENGINES, EngineState, ImageState, containers_key, images_key
from dockbus.tally import flat, script
from dockbus_producer.docker_events.counts import counts_of
from dockbus_producer.docker_events.reader import Cursor
from dockbus_producer.docker_events.world import Known, Telling

LEASE = 15.0
"""Seconds for which somebody leads without renewing it."""
RENEW = 3.0
"""Seconds between two renewals."""
GRACE = 10.0
"""Seconds without a renewal after which a leader stops by itself, before its lease has run out."""
SEEN = 600
"""Seconds for which events are remembered: more than any reader reads again."""

_LEAD = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
local epoch = redis.call('HGET', KEYS[2], 'epoch')
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if holder and epoch then return epoch end
-- Of the time, so that a Redis that has lost its data gives no number for the second time.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
epoch = string.format('%.0f', math.max(now, (tonumber(epoch) or 0) + 1))
redis.call('HSET', KEYS[2], 'epoch', epoch)
return epoch
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class Fenced(Exception):
    """Somebody else leads; nothing was written."""


class Ledger:
    """The books of one Engine."""

    def __init__(self, bus: Bus, engine: str) -> None:
        self._redis = bus.redis
        self._keep = bus.settings.bus.events
        self._engine = engine
        self._state = f"dockbus:watch:{engine}"
        self._lease = f"{self._state}:lease"
        self._seen = f"{self._state}:seen"
        self._token = token_hex(8)
        self._lead = bus.redis.register_script(_LEAD)
        self._release = bus.redis.register_script(_RELEASE)
        self._commit = bus.redis.register_script(
            script(files("dockbus_producer.docker_events").joinpath("commit.lua").read_text())
        )
        self._renewed = 0.0
        self.epoch = 0
        """That of this process' leadership; 0: it does not lead."""

    # -- leading ---------------------------------------------------------------------------

    def lead(self) -> bool:
        """Whether this process leads now; asks for the lease, or renews it, when that is due.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        asked = time.monotonic()
        if self.epoch and asked - self._renewed < RENEW:
            return True
        try:
            with reachable():
                epoch: Any = self._lead(
                    [self._lease, self._state], [self._token, round(LEASE * 1000)]
                )
        finally:
            if self.epoch and time.monotonic() - self._renewed > GRACE:
                self.epoch = 0
        if epoch:
            self._renewed = asked
        self.epoch = int(epoch)
        return self.epoch > 0

    def retire(self) -> None:
        """Let another lead at once.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        self.epoch = 0
        with reachable():
            self._release([self._lease], [self._token])

    # -- reading ---------------------------------------------------------------------------

    def cursor(self) -> Cursor | None:
        """Up to where events are on the bus; None where this Engine was never watched.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        with reachable():
            raw: Any = self._redis.hgetall(self._state)
        found = {key.decode(): value.decode() for key, value in raw.items()}
        if "time_nano" not in found:
            return None
        return Cursor(found["engine_id"], int(found["time_nano"]), found["fingerprint"])

    def containers(self) -> list[Known]:
        """All that was told of containers.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        with reachable():
            raws: Any = self._redis.hvals(containers_key(self._engine))
        known: list[Known] = []
        for raw in raws:
            with contextlib.suppress(ValidationError):  # not ours
                known.append(Known.model_validate_json(raw))
        return known

    def seen(self) -> set[str]:
        """What names the events of the last minutes.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        with reachable():
            raws: Any = self._redis.zrange(self._seen, 0, -1)
        return {raw.decode() for raw in raws}

    # -- writing ---------------------------------------------------------------------------

    def commit(
        self,
        cursor: Cursor,
        state: EngineState,
        tellings: Sequence[Telling] = (),
        containers: Mapping[str, Known | None] | None = None,
        images: Iterable[ImageState] | None = None,
    ) -> int:
        """Publish and keep, all in one, and publish nothing twice. Returns how many events were new.

        Args:
            cursor: up to where all is told now.
            state: the Engine's.
            tellings: what to publish.
            containers: those that have changed, None for one that is gone.
            images: all images, where they may have changed.

        Raises:
            Fenced: another leads.
            RedisUnavailable: Redis does not answer; whether it was done is not known.
        """
        held = {} if containers is None else containers
        now = time.time()
        arguments: list[str | int | float] = [
            self.epoch,
            self._keep,
            cursor.time_nano // 10**6 - SEEN * 1000,
            self._engine,
            state.model_dump_json(),
            cursor.engine_id,
            cursor.time_nano,
            cursor.fingerprint,
            len(tellings),
        ]
        for one in tellings:
            # What is old is remembered from now on, for somebody may not know whether it was told.
            time_nano = max(one.time_nano, cursor.time_nano)
            counts = flat(counts_of(one, now))
            arguments += [one.mark, time_nano // 10**6, one.event.model_dump_json()]
            arguments += [len(counts) // 2, *counts]
        arguments.append(len(held))
        for name, known in held.items():
            arguments += [name, known.model_dump_json() if known else ""]
        if images is None:
            arguments.append(-1)
        else:
            all_images = list(images)
            arguments.append(len(all_images))
            for image in all_images:
                arguments += [image.id, image.model_dump_json()]
        keys = [
            self._state,
            self._seen,
            STREAM,
            containers_key(self._engine),
            images_key(self._engine),
            ENGINES,
        ]
        with reachable():
            published: Any = self._commit(keys, arguments)
        if published < 0:
            self.epoch = 0
            raise Fenced
        return int(published)
