"""What Redis holds of the bus at the moment of a scrape, in two round trips however many workers and queues there are.

The first asks for all that has a fixed name and for the names of queues and workers, the second for each of those. A
scrape waits for Redis for a moment only; then it says that Redis is not up, and the rest of the page is not kept
waiting. Scrapes at the same time share one answer.
"""

# redis-py's own annotations are partial; what comes from it is checked where it is parsed.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError

from dockbus.connection import reachable
from dockbus.deployment import SUSPENDED
from dockbus.errors import RedisUnavailable
from dockbus.events import STREAM
from dockbus.jobs import Queue
from dockbus.queue.keys import RQ, queue_key, registry_key
from dockbus.snapshot import ENGINES
from dockbus.tally import EXEMPLARS, KEY
from dockbus_workers.metrics import bus_families as has
from dockbus_workers.metrics.bus_state import (
    REGISTRIES,
    WORKER_FIELDS,
    BusState,
    QueueState,
    WorkerState,
    described,
)
from dockbus_workers.metrics.tallied import tallied

log = logging.getLogger(__name__)

PATIENCE = 1.5
"""Seconds for which a scrape waits for Redis."""
_OLDEST = """
-- Those that were put in front stand there newest first, the others oldest first: the oldest is where time begins to rise.
local oldest
for place = 0, 999 do
  local id = redis.call('LINDEX', KEYS[1], place)
  if not id then break end
  local since = redis.pcall('HGET', ARGV[1] .. id, 'enqueued_at')
  if type(since) == 'string' then
    if oldest and since > oldest then break end
    oldest = since
  end
end
return oldest
"""


@dataclass(frozen=True)
class Found:
    """What Redis has answered."""

    state: BusState
    tally: Mapping[bytes, bytes]
    exemplars: Mapping[bytes, bytes]
    times: int
    """How often it has answered."""
    seconds: float
    """How long it took, all in all."""

    def metrics(self) -> Iterator[Metric]:
        """The families that tell of it."""
        yield from described(self.state)
        yield from tallied(self.tally, self.exemplars)
        processing = has.PROCESSING.metric()
        has.PROCESSING.add(processing, self.times, suffix="_count")
        has.PROCESSING.add(processing, self.seconds, suffix="_sum")
        yield processing


class BusCollector(Collector):
    """The families of the bus; never raises."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pool = ThreadPoolExecutor(1, "bus")
        self._lock = threading.Lock()
        self._asked: Future[Found] | None = None
        self._since = 0.0
        self._up: bool | None = None
        self._times = 0
        self._seconds = 0.0

    def close(self) -> None:
        """Ask no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def describe(self) -> Iterator[Metric]:
        """All families without values."""
        return (family.metric() for family in (*has.READ, *has.COUNTED))

    def collect(self) -> Iterator[Metric]:
        """All families as Redis has it now; only that it is not up where it does not answer."""
        return self.ask().collect()

    def ask(self) -> Answer:
        """Begin to ask Redis, so that it answers while something else is collected; or wait with those who do already."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = self._pool.submit(self._ask)
                self._since = time.monotonic()
            return Answer(self._asked, self._since, self._say)

    def _say(self, up: bool, why: str) -> None:
        if up and self._up is False:
            log.info("Redis is back; the bus is measured again")
        elif not up and self._up is not False:
            log.warning("Redis is away, so the bus is not measured: %s", why)
        self._up = up

    def _ask(self) -> Found:
        begun = time.monotonic()
        with reachable():
            found = self._read()
        self._seconds += time.monotonic() - begun
        self._times += 1
        return Found(*found, self._times, self._seconds)

    def _read(self) -> tuple[BusState, dict[bytes, bytes], dict[bytes, bytes]]:
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.info("memory")
            pipe.xlen(STREAM)
            pipe.xinfo_groups(STREAM)
            pipe.zrange(SUSPENDED, 0, -1, withscores=True)
            pipe.hgetall(ENGINES)
            pipe.smembers(f"{RQ}:queues")
            pipe.smembers(f"{RQ}:workers")
            pipe.hgetall(KEY)
            pipe.hgetall(EXEMPLARS)
            now, memory, *rest = pipe.execute(raise_on_error=False)
        for essential in (now, memory):
            if isinstance(essential, Exception):
                raise essential
        # What else is refused is of another type: not ours, and no reason to tell nothing.
        stored, groups, suspended, engines, queues, workers, counted, exemplars = (
            None if isinstance(one, Exception) else one for one in rest
        )
        asked = self._read_each(queues or (), workers or ())
        state = BusState.parse(
            now, memory, stored or 0, groups or (), suspended or (), engines or {}, *asked
        )
        return state, counted or {}, exemplars or {}

    def _read_each(
        self, queues: Iterable[bytes], workers: Iterable[bytes]
    ) -> tuple[list[QueueState], list[WorkerState]]:
        prefix = queue_key("")
        names = {raw.decode("utf-8", "replace").removeprefix(prefix) for raw in queues}
        names |= {queue.value for queue in Queue}
        return read_each(self._redis, names, sorted(workers))


def read_each(
    redis: Redis, names: Iterable[str], workers: Sequence[bytes]
) -> tuple[list[QueueState], list[WorkerState]]:
    """The queues of these names and the workers of these keys, in one round trip; a worker that is gone is left out."""
    names = sorted(names)
    with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.llen(queue_key(name))
            for registry in REGISTRIES.values():
                pipe.zcard(registry_key(registry, name))
            pipe.eval(_OLDEST, 1, queue_key(name), f"{RQ}:job:")
        for key in workers:
            pipe.hmget(key, *WORKER_FIELDS)
        found = iter(pipe.execute(raise_on_error=False))
    rows = [
        QueueState.parse(name, next(found), [next(found) for _ in REGISTRIES], next(found))
        for name in names
    ]
    seen = [WorkerState.parse(key, next(found)) for key in workers]
    return rows, [worker for worker in seen if worker]


class Answer(Collector):
    """What one question comes to."""

    def __init__(
        self, asked: Future[Found], since: float, say: Callable[[bool, str], None]
    ) -> None:
        self._asked = asked
        self._since = since
        self._say = say

    def collect(self) -> Iterator[Metric]:
        """All families, or that Redis is not up."""
        found, why = self._wait()
        self._say(found is not None, why)
        yield has.REDIS_UP.of(float(found is not None))
        if found:
            yield from found.metrics()

    def _wait(self) -> tuple[Found | None, str]:
        left = self._since + PATIENCE - time.monotonic()
        try:
            return self._asked.result(timeout=max(0.0, left)), ""
        except (RedisUnavailable, RedisError) as error:
            return None, str(error)
        except TimeoutError:
            return None, f"it has not answered in {PATIENCE:g} s"
