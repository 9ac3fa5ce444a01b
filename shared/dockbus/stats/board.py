"""Where those who want stats and the metrics workers, which alone see the Engines, meet.

    dockbus:stats-workers         sorted set: an Engine's name, by when its metrics worker last looked for a wish
    dockbus:stats-wanted:ENGINE   string: somebody wants stats; for some seconds after he last said so
    dockbus:stats:ENGINE          hash: `sequence`, and `measured`, an `EngineStats` as JSON; for some seconds

A wish lapses by itself, so whoever goes away, or dies, has nothing to take back. All times are by Redis' clock.
"""

# redis-py's own annotations are partial; what comes from it is checked where it is parsed.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError
from redis import Redis

from dockbus.connection import reachable
from dockbus.stats.model import EngineStats

WORKERS = "dockbus:stats-workers"
ALIVE = 10
"""Seconds after its last look for which a metrics worker counts as running."""
WISH = 6
"""Seconds for which a wish holds."""
KEPT = 6
"""Seconds for which a measurement can be read."""

_BEAT = """
local now = redis.call('TIME')[1]
redis.call('ZADD', KEYS[1], now, ARGV[1])
return redis.call('EXISTS', KEYS[2])
"""
_WISH = """
local now, known, found = redis.call('TIME')[1], {}, {}
for at = 4, #ARGV, 2 do known[ARGV[at]] = ARGV[at + 1] end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
for _, engine in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if ARGV[1] == '' or ARGV[1] == engine then
    redis.call('SET', 'dockbus:stats-wanted:' .. engine, '', 'EX', ARGV[3])
    local key = 'dockbus:stats:' .. engine
    local sequence = redis.call('HGET', key, 'sequence') or ''
    found[#found + 1] = engine
    found[#found + 1] = sequence
    found[#found + 1] = sequence ~= known[engine] and redis.call('HGET', key, 'measured') or ''
  end
end
return found
"""


class Board:
    """The wishes and measurements of a bus."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._beat = redis.register_script(_BEAT)
        self._wish = redis.register_script(_WISH)

    # -- who wants stats -------------------------------------------------------------------

    def wish(
        self, engine: str | None, known: Mapping[str, str]
    ) -> tuple[dict[str, str], list[EngineStats]]:
        """Say that stats of this Engine, or of all, are wanted.

        Args:
            engine: its name.
            known: the sequence of the measurement of each Engine that need not be given again.

        Returns:
            The Engines that have a metrics worker with the sequences of their measurements (empty: none), and those
            measurements that are not known.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        pairs = [part for pair in known.items() for part in pair]
        with reachable():
            answer: Any = self._wish([WORKERS], [engine or "", ALIVE, WISH, *pairs])
        words: list[bytes] = answer
        sequences: dict[str, str] = {}
        found: list[EngineStats] = []
        for name, sequence, raw in zip(words[::3], words[1::3], words[2::3], strict=True):
            sequences[name.decode()] = sequence.decode()
            if raw:
                with suppress(ValidationError):  # not ours
                    found.append(EngineStats.model_validate_json(raw))
        return sequences, found

    # -- who measures ----------------------------------------------------------------------

    def wanted(self, engine: str) -> bool:
        """Whether somebody wants stats of this Engine, which from now on is known to have a metrics worker.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        with reachable():
            found: Any = self._beat([WORKERS, f"dockbus:stats-wanted:{engine}"], [engine])
        return bool(found)

    def put(self, measured: EngineStats) -> None:
        """Let those who want it have this measurement.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        key = f"dockbus:stats:{measured.engine}"
        fields: dict[Any, Any] = {"sequence": measured.sequence}
        fields["measured"] = measured.model_dump_json()
        with reachable(), self._redis.pipeline() as pipe:
            pipe.hset(key, mapping=fields)
            pipe.expire(key, KEPT)
            pipe.execute()

    def retire(self, engine: str) -> None:
        """This Engine has no metrics worker any more.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        with reachable():
            self._redis.zrem(WORKERS, engine)
