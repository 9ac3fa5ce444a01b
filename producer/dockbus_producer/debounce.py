"""Events that a rule does not act on at once: the last one of a burst, kept in Redis until it is quiet.

    dockbus:rules:due:RULE               sorted set: OBJECT, by when it is due
    dockbus:rules:waiting:RULE:OBJECT    hash: the last event, its cause and its time, and when the first one came
    dockbus:rules:waited:RULE:CAUSE      that an event has been seen, so that one which comes again changes nothing

Any dispatcher takes what is due of the rules that it has. It acts first and forgets then: one that dies in between
leaves it to the next, and acting twice on the same cause is acting once. What no dispatcher takes, since its rule is
gone or switched off, expires with the event's `max_age`, and holds up nothing.
"""

# redis-py's own annotations are partial; what comes from it is checked where it is parsed.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from redis import Redis

from dockbus.connection import reachable
from dockbus.events import Event
from dockbus_producer.gate import memory
from dockbus_producer.rules import Occasion, Rule

DUE = "dockbus:rules:due:"

# ARGV: now, rule, object, cause, time of the event, seconds to remember it, debounce, longest, the event
_WAIT = """
local now, at = tonumber(ARGV[1]), tonumber(ARGV[5])
local waited = 'dockbus:rules:waited:' .. ARGV[2] .. ':' .. ARGV[4]
if not redis.call('SET', waited, '1', 'NX', 'EX', ARGV[6]) then return end
local waiting = 'dockbus:rules:waiting:' .. ARGV[2] .. ':' .. ARGV[3]
local there = redis.call('HMGET', waiting, 'first', 'at')
local first, newest = tonumber(there[1] or nil) or now, tonumber(there[2] or nil)
if not newest or newest <= at then
  redis.call('HSET', waiting, 'cause', ARGV[4], 'at', ARGV[5], 'event', ARGV[9])
end
redis.call('HSET', waiting, 'first', string.format('%.6f', first))
redis.call('EXPIRE', waiting, ARGV[6])
local due = 'dockbus:rules:due:' .. ARGV[2]
local moment = math.min(now + tonumber(ARGV[7]), first + tonumber(ARGV[8]))
redis.call('ZADD', due, string.format('%.6f', moment), ARGV[3])
redis.call('EXPIRE', due, ARGV[6])
"""

# An event that came meanwhile begins a burst of its own. ARGV: now, rule, object, cause
_FORGET = """
local waiting = 'dockbus:rules:waiting:' .. ARGV[2] .. ':' .. ARGV[3]
local cause = redis.call('HGET', waiting, 'cause')
if cause and cause ~= ARGV[4] then
  redis.call('HSET', waiting, 'first', ARGV[1])
else
  redis.call('DEL', waiting)
  redis.call('ZREM', 'dockbus:rules:due:' .. ARGV[2], ARGV[3])
end
"""


@dataclass(frozen=True)
class Burst:
    """Events of one rule about one object, of which the last is to be acted on."""

    rule: str
    object: str
    cause: str
    event: Event | None
    """The last event; None where it is lost."""


class Debounce:
    """The bursts of a bus. Every method raises `RedisUnavailable` where Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._wait = redis.register_script(_WAIT)
        self._forget = redis.register_script(_FORGET)

    def wait(self, rule: Rule, occasion: Occasion, now: float) -> None:
        """Put off acting on this occasion, and on those that it follows.

        Raises:
            RuleError: `by` names what the occasion does not have.
        """
        with reachable():
            self._wait(
                args=[
                    now,
                    rule.name,
                    rule.object_of(occasion),
                    occasion.cause,
                    occasion.time.timestamp(),
                    memory(rule),
                    rule.debounce or 0.0,
                    rule.longest_debounce,
                    occasion.event.model_dump_json(),
                ]
            )

    def due(self, rules: Collection[str], now: float) -> list[Burst]:
        """What is due of the rules of these names; of each the first first, and a hundred at most."""
        with reachable(), self._redis.pipeline(transaction=False) as pipe:
            for rule in rules:
                pipe.zrangebyscore(f"{DUE}{rule}", "-inf", now, start=0, num=100)
            found: list[list[bytes]] = pipe.execute()
        return [
            self._burst(rule, what.decode("utf-8", "replace"))
            for rule, objects in zip(rules, found, strict=True)
            for what in objects
        ]

    def next(self, rules: Collection[str]) -> float | None:
        """When something of these rules is due next; None where nothing waits."""
        with reachable(), self._redis.pipeline(transaction=False) as pipe:
            for rule in rules:
                pipe.zrange(f"{DUE}{rule}", 0, 0, withscores=True)
            found: list[list[tuple[bytes, float]]] = pipe.execute()
        return min((float(rows[0][1]) for rows in found if rows), default=None)

    def forget(self, burst: Burst, now: float) -> None:
        """Forget a burst that has been acted on."""
        with reachable():
            self._forget(args=[now, burst.rule, burst.object, burst.cause])

    def _burst(self, rule: str, what: str) -> Burst:
        with reachable():
            raw: Any = self._redis.hmget(f"dockbus:rules:waiting:{rule}:{what}", "cause", "event")
        event = Event.model_validate_json(raw[1]) if raw[1] else None
        return Burst(rule, what, raw[0].decode() if raw[0] else "", event)
