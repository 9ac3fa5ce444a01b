"""How often a rule may act: what rules have done is kept in Redis, and one script decides, so dispatchers hold nothing.

    dockbus:rules:verdict:RULE:CAUSE   what was decided about an occasion, so that it is decided once
    dockbus:rules:hits:RULE:OBJECT     sorted set: the causes that count towards `count`, by their time
    dockbus:rules:fires:RULE:OBJECT    sorted set: the causes that were acted on, by when
    dockbus:rules:last:RULE:KEY        hash: the last job of a dedup key, and when it was ordered
    dockbus:rules:suspended            sorted set: RULE:OBJECT, by when its suspension ends

All but the last expire by themselves. Times are those of Redis, which all dispatchers share.
"""

# redis-py's own annotations are partial; what comes from it is checked where it is parsed.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib.resources import files
from typing import Any

from redis import Redis

from dockbus.connection import reachable
from dockbus.deployment import SUSPENDED
from dockbus.ids import JobId
from dockbus.queue.keys import job_key
from dockbus.tally import script
from dockbus_producer.rules import Occasion, Rule

MARGIN = 60
"""Seconds for which a verdict is kept beyond the age at which its event is let pass."""
_FORGET = """
local ends = tonumber(redis.call('ZSCORE', ARGV[1], ARGV[2]) or nil)
if ends and ends <= tonumber(ARGV[3]) then redis.call('ZREM', ARGV[1], ARGV[2]) end
"""


class Word(StrEnum):
    """What is decided about an occasion."""

    FIRE = "fire"
    COUNTED = "counted"
    """Too few have come yet."""
    COOLING = "cooling"
    OPEN = "open"
    """The last job of its dedup key has not ended."""
    DONE = "done"
    """The last job of its dedup key has ended, and there is to be no other."""
    LIMITED = "limited"
    SUSPEND = "suspend"
    """The limit is reached with this one."""
    SUSPENDED = "suspended"


@dataclass(frozen=True)
class Verdict:
    """Whether a rule acts on an occasion."""

    word: Word
    detail: str = ""
    """To `fire`: the job that has not ended. To `open` and `done`: that job. To `counted` and `suspend`: how many."""

    @classmethod
    def parse(cls, text: str) -> Verdict:
        """The verdict in a text of the script."""
        word, _, detail = text.partition(" ")
        return cls(Word(word), detail)

    def __str__(self) -> str:
        return f"{self.word} {self.detail}".rstrip()


@dataclass(frozen=True)
class Suspension:
    """An object that a rule does nothing about any more."""

    rule: str
    object: str
    ends: datetime
    """When it does something again, if it has not matched until then."""


class Gate:
    """What the rules of a bus have done. Every method raises `RedisUnavailable` where Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        text = files("dockbus_producer").joinpath("gate.lua").read_text()
        self._decide = redis.register_script(script(text.replace("%JOB%", job_key(JobId("")))))
        self._forget = redis.register_script(_FORGET)

    def now(self) -> float:
        """The time, by the clock of Redis."""
        with reachable():
            seconds, micros = self._redis.time()
        return float(seconds) + micros / 1e6

    def decide(self, rule: Rule, occasion: Occasion, job: JobId, now: float) -> Verdict:
        """Whether the rule may act on this occasion; the same answer however often it is asked.

        Args:
            rule: a rule that matches.
            occasion: what it matches.
            job: the ID of the job that it would order.
            now: the time, by the clock of Redis.

        Raises:
            RuleError: a template of the rule names what the occasion does not have.
        """
        dedup = rule.dedup if rule.mode == "enforce" else None  # a dry run has no jobs
        if not (rule.count or rule.cooldown or rule.limit or dedup):
            return Verdict(Word.FIRE)
        with reachable():
            answer: Any = self._decide(
                args=[
                    now,
                    rule.name,
                    rule.object_of(occasion),
                    occasion.cause,
                    occasion.time.timestamp(),
                    memory(rule),
                    rule.count or 0,
                    rule.within or 0,
                    rule.cooldown,
                    *((one.count, one.per, one.then) if (one := rule.limit) else (0, 0, "")),
                    rule.dedup_key(occasion) if dedup else "",
                    *((dedup.reuse, dedup.conflict) if dedup else ("", "")),
                    job,
                ]
            )
        return Verdict.parse(answer.decode())

    def decided(self, rule: Rule, occasion: Occasion) -> Verdict | None:
        """What was decided about this, as far as that is remembered."""
        with reachable():
            raw: Any = self._redis.get(_key("verdict", rule.name, occasion.cause))
        return Verdict.parse(raw.decode()) if raw else None

    def is_last(self, rule: Rule, occasion: Occasion, job: JobId) -> bool:
        """Whether this is still the last job of its dedup key."""
        with reachable():
            last: Any = self._redis.hget(_key("last", rule.name, rule.dedup_key(occasion)), "job")
        return last is None or last.decode() == job

    # -- suspensions -----------------------------------------------------------------------

    def suspensions(self, rule: str | None = None) -> list[Suspension]:
        """What is suspended now, of one rule or of all."""
        with reachable():
            rows: Any = self._redis.zrangebyscore(
                SUSPENDED, f"({self.now()}", "+inf", withscores=True
            )
        found = [_suspension(row) for row in rows]
        return [one for one in found if rule in (None, one.rule)]

    def lapsed(self, now: float) -> list[Suspension]:
        """What was suspended, has been quiet for long enough, and is not forgotten yet."""
        with reachable():
            rows: Any = self._redis.zrangebyscore(SUSPENDED, "-inf", now, withscores=True)
        return [_suspension(row) for row in rows]

    def forget(self, one: Suspension, now: float) -> None:
        """Forget a suspension that has lapsed, unless there is a new one."""
        with reachable():
            self._forget(args=[SUSPENDED, f"{one.rule}:{one.object}", now])

    def resume(self, one: Suspension) -> bool:
        """End a suspension, and forget what led to it; False if it was over."""
        with reachable(), self._redis.pipeline(transaction=True) as pipe:
            pipe.zrem(SUSPENDED, f"{one.rule}:{one.object}")
            pipe.delete(_key("fires", one.rule, one.object))
            removed: list[Any] = pipe.execute()
        return bool(removed[0])


def memory(rule: Rule) -> int:
    """Seconds for which it has to be remembered what was decided about an event: as long as it may come again."""
    return math.ceil(rule.max_age + rule.longest_debounce) + MARGIN


def _key(what: str, rule: str, of: str) -> str:
    return f"dockbus:rules:{what}:{rule}:{of}"


def _suspension(row: tuple[bytes, float]) -> Suspension:
    rule, _, what = row[0].decode("utf-8", "replace").partition(":")
    return Suspension(rule, what, datetime.fromtimestamp(float(row[1]), UTC))
