"""Which of several metrics workers exports what must be exported once: an Engine's containers, and the bus.

    dockbus:lease:NAME   string: who has the lease, for some seconds

A lease is renewed in a thread of its own, so no scrape waits for Redis. Without Redis nobody can be asked: then who had
a lease last goes on, and who never heard of one exports what it has, for a monitor must not die with what it monitors.
The price is that two may export the same, if Redis is away from one of them only.
"""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from secrets import token_hex
from typing import Any, Self

from prometheus_client import Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError

from dockbus.families import Family

log = logging.getLogger(__name__)

LEASE = 15.0
"""Seconds for which somebody has a lease without renewing it."""
RENEW = 3.0
"""Seconds between two renewals."""
STALE = 10.0
"""Seconds after which an answer is not believed any more: this process was frozen, and another may have the lease."""
PATIENCE = 1.5
"""Seconds for which a scrape waits for a new answer then, or for the first."""

LEADS = Family(
    "dockbus_metrics_leads",
    "gauge",
    "Whether this metrics worker exports its Engine's containers: 1 for one of them, 0 for those that stand by.",
    ("engine",),
)

_TAKE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_GIVE_BACK = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


def lease_key(name: str) -> str:
    """Where a lease is."""
    return f"dockbus:lease:{name}"


class Leases:
    """The leases that this process has or would take, kept while a `with` block runs."""

    def __init__(self, redis: Redis, names: Sequence[str]) -> None:
        self._redis = redis
        self._names = names
        self._token = token_hex(8)
        self._held: dict[str, bool] = {}
        self._asked = float("-inf")
        self._turn = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE)

    def leads(self, name: str) -> bool:
        """Whether this process is to export what the lease is for."""
        with self._turn:
            self._turn.wait_for(lambda: time.monotonic() - self._asked < STALE, PATIENCE)
            return self._held.get(name, True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._renew()
            self._stopping.wait(RENEW)
        with contextlib.suppress(RedisError):
            for name in self._names:
                self._redis.eval(_GIVE_BACK, 1, lease_key(name), self._token)

    def _renew(self) -> None:
        asked = time.monotonic()
        held: dict[str, bool] = {}
        try:
            for name in self._names:
                answer: Any = self._redis.eval(
                    _TAKE, 1, lease_key(name), self._token, str(round(LEASE * 1000))
                )
                held[name] = bool(answer)
        except RedisError as error:
            log.debug("leases: %s", error)
            asked = time.monotonic()  # that there is nobody to ask is as of now
        except Exception:
            log.exception("leases: a bug in dockbus")
            asked = time.monotonic()
        for name, holds in held.items():
            if self._held.get(name) != holds:
                log.info("%s the lease %s", "has" if holds else "another process has", name)
        with self._turn:
            self._held |= held
            self._asked = asked
            self._turn.notify_all()


class Leadership(Collector):
    """Whether this process leads for its Engine."""

    def __init__(self, engine: str, *, leads: bool) -> None:
        self._engine = engine
        self._leads = leads

    def describe(self) -> Iterator[Metric]:
        """Its one family, without a value."""
        yield LEADS.metric()

    def collect(self) -> Iterator[Metric]:
        """Its one family."""
        yield LEADS.of((float(self._leads), {"engine": self._engine}))
