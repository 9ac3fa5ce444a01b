"""The outbox of a sink: what is still to be sent, in Redis, so that neither a crash nor a slow receiver loses it.

    dockbus:sink:NAME             consumer group on the event stream: up to where events were put into the outbox
    dockbus:sink:NAME:waiting     hash: a message's ID, a `Parcel` as JSON
    dockbus:sink:NAME:due         sorted set: a message's ID, when it is to be tried
    dockbus:sink:NAME:dead        stream: parcels that are not tried any more
    dockbus:sink:NAME:suspended   hash: since when and why nothing is sent, to which URL

Who takes a parcel moves its time ahead by a lease. If nobody settles it by then, it is due again.
"""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis import Redis

from dockbus.connection import reachable
from dockbus.deployment import SINK
from dockbus.events import STREAM, Event
from dockbus.ids import StreamId
from dockbus.tally import KEY, sample, script
from dockbus_producer.sinks.signature import message_id

DEAD = 1000
"""Newest dead letters that are kept of each sink."""

_CLAIM = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local taken = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local parcel = redis.call('HGET', KEYS[1], id)
  if parcel then
    redis.call('ZADD', KEYS[2], now + ARGV[2], id)
    taken[#taken + 1] = parcel
  else
    redis.call('ZREM', KEYS[2], id)
  end
end
local next = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
return {taken, next[2] and tostring(tonumber(next[2]) - now) or ''}
"""

# Settles a parcel, unless somebody else has: another time (ARGV[3]), or among the dead (ARGV[3] is empty).
_SETTLE = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return end
count(ARGV[5], 1)
if ARGV[3] ~= '' then
  local clock = redis.call('TIME')
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('ZADD', KEYS[2], tonumber(clock[1]) + tonumber(clock[2]) / 1e6 + ARGV[3], ARGV[1])
else
  redis.call('XADD', KEYS[3], 'MAXLEN', ARGV[4], '*', 'parcel', ARGV[2])
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
"""

_REPLAY = """
if redis.call('XDEL', KEYS[3], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('ZADD', KEYS[2], 0, ARGV[2])
return 1
"""


class Parcel(BaseModel):
    """An event that is to be sent."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    event: Event
    attempts: int = 0
    """How often that was tried in vain."""
    cause: str = ""
    """Why the last attempt failed."""
    since: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """When it was put into the outbox."""

    @property
    def id(self) -> str:
        """The message's ID."""
        return message_id(self.event)


class Suspension(BaseModel):
    """Nothing is sent to a sink."""

    model_config = ConfigDict(frozen=True)

    url: str
    cause: str
    since: datetime


class Outbox:
    """The outbox of the sink of that name. Every method raises `RedisUnavailable` when Redis does not answer."""

    def __init__(self, redis: Redis, name: str) -> None:
        self.group = f"{SINK}{name}"
        self._name = name
        self._redis: Any = redis
        self._waiting, self._due, self._dead, self._suspended = self._keys = [
            f"{self.group}:{part}" for part in ("waiting", "due", "dead", "suspended")
        ]
        self._claim = redis.register_script(_CLAIM)
        self._settle = redis.register_script(script(_SETTLE))
        self._replay = redis.register_script(_REPLAY)

    def put(self, parcels: Iterable[Parcel], done: Sequence[StreamId]) -> None:
        """Put these in, and all these positions of the event stream behind us, in one step."""
        with reachable(), self._redis.pipeline() as pipe:
            for parcel in parcels:
                pipe.hsetnx(self._waiting, parcel.id, parcel.model_dump_json())
                pipe.zadd(self._due, {parcel.id: 0}, nx=True)
            if done:
                pipe.xack(STREAM, self.group, *done)
            pipe.execute()

    def claim(self, count: int, lease: float) -> tuple[list[Parcel], float]:
        """Parcels to try now, for `lease` seconds nobody else's; and the seconds until the next one is due."""
        with reachable():
            taken, pause = self._claim(self._keys, [count, lease])
        return [Parcel.model_validate_json(parcel) for parcel in taken], float(pause or "inf")

    def remove(self, parcel: Parcel) -> None:
        """It was delivered."""
        with reachable(), self._redis.pipeline() as pipe:
            pipe.hdel(self._waiting, parcel.id)
            pipe.zrem(self._due, parcel.id)
            pipe.hincrbyfloat(KEY, self._counted("delivered"), 1)
            pipe.execute()

    def put_back(self, parcel: Parcel, pause: float) -> None:
        """Try it again in so many seconds."""
        with reachable():
            self._settle(self._keys, [*self._told(parcel), pause, DEAD, self._counted("failed")])

    def bury(self, parcel: Parcel) -> None:
        """Try it no more."""
        with reachable():
            self._settle(self._keys, [*self._told(parcel), "", DEAD, self._counted("dead")])

    def _told(self, parcel: Parcel) -> tuple[str, str]:
        return parcel.id, parcel.model_dump_json()

    def _counted(self, outcome: str) -> str:
        return sample("dockbus_sink_deliveries_total", sink=self._name, outcome=outcome)

    def waiting(self) -> int:
        """How many are to be sent."""
        with reachable():
            return int(self._redis.hlen(self._waiting))

    def dead_count(self) -> int:
        """How many are dead."""
        with reachable():
            return int(self._redis.xlen(self._dead))

    def dead(self) -> dict[StreamId, Parcel]:
        """The dead, the oldest first."""
        with reachable():
            rows = self._redis.xrange(self._dead)
        found: dict[StreamId, Parcel] = {}
        for position, fields in rows:
            with contextlib.suppress(KeyError, ValidationError):  # not ours
                parcel = Parcel.model_validate_json(fields[b"parcel"])
                found[StreamId(position.decode())] = parcel
        return found

    def replay(self) -> int:
        """Try all the dead again, as if for the first time; how many they are."""
        count = 0
        for position, parcel in self.dead().items():
            anew = Parcel(event=parcel.event)
            with reachable():
                count += self._replay(self._keys, [position, anew.id, anew.model_dump_json()])
        return count

    def suspension(self) -> Suspension | None:
        """Why nothing is sent; None if all is well."""
        with reachable():
            fields = self._redis.hgetall(self._suspended)
        return (
            Suspension.model_validate_strings(
                {name.decode(): value.decode() for name, value in fields.items()}
            )
            if fields
            else None
        )

    def suspend(self, url: str, cause: str) -> bool:
        """Send nothing any more to that URL; whether that is new."""
        fields = {"url": url, "cause": cause, "since": datetime.now(UTC).isoformat()}
        with reachable():
            return bool(self._redis.hset(self._suspended, mapping=fields))

    def resume(self) -> bool:
        """Send again; whether it was suspended."""
        with reachable():
            return bool(self._redis.delete(self._suspended))
