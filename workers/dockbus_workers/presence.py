"""Which Engines the bus has: each one's name is held by its workers, and an Engine whose name nobody holds for long is lost."""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from redis import Redis

from dockbus.errors import EngineNameTaken

NAME_HELD = 60
"""Seconds for which an Engine keeps its name on the bus when none of its workers lives."""
NAME_CLAIMED = 5.0
"""Seconds between two claims of it."""
BLINK = 15.0
"""Seconds without a look after which earlier ones count no more: Redis was away, or this process stood still."""


def claim_name(redis: Redis, name: str, engine: str) -> None:
    """Hold an Engine's name on the bus for the Engine with this ID. Jobs that have begun on it go by the name.

    Raises:
        EngineNameTaken: the name is another Engine's.
    """
    key = _key(name)
    if redis.set(key, engine, nx=True, ex=NAME_HELD):
        return
    held: Any = redis.get(key) or b""
    owner = held.decode("utf-8", "replace")
    if owner != engine:
        raise EngineNameTaken(f"{name!r} is Engine {owner}, and this is Engine {engine}")
    redis.expire(key, NAME_HELD)


class Name:
    """An Engine's name, held on the bus as long as `hold` is called now and then."""

    def __init__(self, redis: Redis, name: str) -> None:
        self._redis = redis
        self._name = name
        self._engine = ""
        self._due = 0.0

    def hold(self, engine: str, now: float) -> None:
        """Claim it for the Engine with this ID, if it is time to.

        Args:
            engine: its ID.
            now: seconds of a clock that never goes back.

        Raises:
            EngineNameTaken: the name is another Engine's.
        """
        if engine == self._engine and now < self._due:
            return
        self._engine = ""
        claim_name(self._redis, self._name, engine)
        self._engine, self._due = engine, now + NAME_CLAIMED


def free_names(redis: Redis, names: Sequence[str]) -> list[str]:
    """Those of the names that nobody holds."""
    held: Any = redis.mget([_key(name) for name in names]) if names else []
    return [name for name, owner in zip(names, held, strict=True) if owner is None]


def _key(name: str) -> str:
    return f"dockbus:engine:{name}"


class Absences:
    """How long one process has seen that names are free. It trusts nobody else's clock, nor Redis' memory of an outage."""

    def __init__(self, after: float) -> None:
        self._after = after
        self._since: dict[str, float] = {}
        self._looked = 0.0

    def lost(self, free: Iterable[str], now: float) -> list[str]:
        """The names that were free at each look for `after` seconds.

        Args:
            free: the names that are free at this look.
            now: seconds of a clock that never goes back.
        """
        before = self._since if now - self._looked <= BLINK else {}
        self._looked = now
        self._since = {name: before.get(name, now) for name in free}
        return [name for name, since in self._since.items() if now - since >= self._after]
