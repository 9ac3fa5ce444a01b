"""The steps that are measured, each done by us or by RQ in the same way on the same Redis."""

# RQ's and redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from rq import Queue
from rq.serializers import JSONSerializer

from dockbus import Bus, Cleanup
from queue_support import memory
from queue_support.crew import Hand, until
from queue_support.stamps import Stamps

QUEUES = {"ours": "cleanup", "fork": "fork", "simple": "simple"}
"""The queue of each worker."""
PLAIN = {"rq": "plain"}
"""A queue of RQ's that nobody serves."""
FUNCTION = "queue_support.stamps.begin"
ONE_BY_ONE = 300
BULK = 1000
BACKLOG = {"ours": 1000, "simple": 1000, "fork": 100}
"""Jobs to carry out: about a second's work for each of the workers."""
PACE = 50
"""Jobs a second where waiting is measured."""
PACED = 105
START_UP = 5
"""The first of these do not count."""
LEFT = 1000
"""Jobs whose remains are weighed."""


class Bench:
    """One Redis, the two ways to put jobs on it, and the workers that carry them out."""

    def __init__(self, bus: Bus, hands: Mapping[str, Hand], stamps: Stamps) -> None:
        self.hands = hands
        self._bus = bus
        self._redis = bus.redis
        self._stamps = stamps
        self._places = count()
        self._queues = {
            which: Queue(queue, connection=bus.redis, serializer=JSONSerializer)
            for which, queue in (QUEUES | PLAIN).items()
        }

    def ready(self) -> None:
        """Wait until every worker has come up, and let it rest."""
        for hand in self.hands.values():
            for _ in until(30):
                if self._redis.scard(f"rq:workers:{hand.queue}"):
                    break
        time.sleep(1.0)
        for hand in self.hands.values():
            hand.rest()

    # -- what is measured ------------------------------------------------------------------

    def enqueue(self, which: str) -> float:
        """Seconds to put one job on a queue, one by one."""
        _, specs = self._specs(ONE_BY_ONE)
        put = self._put(which)
        jobs = [self._job(which, spec) for spec in specs]
        taken = _timed(lambda: [put(job) for job in jobs]) / ONE_BY_ONE
        self._forget()
        return taken

    def bulk(self, which: str) -> float:
        """Seconds for each of many jobs that are put on a queue at once."""
        taken = self._load(which, BULK)[1]
        self._forget()
        return taken

    def execute(self, which: str) -> tuple[float, float]:
        """Seconds for one job of a backlog, and the worker's CPU seconds in it.

        The former is taken between the first tenth and the last tenth of the jobs, so that no start is in it.
        """
        number, hand = BACKLOG[which], self.hands[which]
        first, _ = self._load(which, number)
        before = hand.cpu()
        with hand.at_work():
            moments = sorted(self._begun(which, first, number))
        cpu = hand.cpu() - before
        self._forget()
        low, high = number // 10, number * 9 // 10
        return (moments[high] - moments[low]) / (high - low), cpu / number

    def waiting(self, which: str) -> list[float]:
        """Seconds between the call that enqueues a job and its beginning, at an even pace."""
        first, specs = self._specs(PACED)
        put = self._put(which)
        sent: list[float] = []
        with self.hands[which].at_work():
            begun = time.monotonic()
            for number, spec in enumerate(specs):
                job = self._job(which, spec)
                time.sleep(max(0.0, begun + number / PACE - time.monotonic()))
                sent.append(time.time())
                put(job)
            moments = self._begun(which, first, PACED)
        self._forget()
        return [after - before for before, after in zip(sent, moments, strict=True)][START_UP:]

    def remains(self, which: str) -> Mapping[str, int]:
        """Bytes in Redis for each job that has ended, by purpose."""
        self._forget()
        first, _ = self._load(which, LEFT)
        with self.hands[which].at_work():
            self._begun(which, first, LEFT)
        found = memory.remains(self._redis, LEFT)
        self._forget()
        return found

    # -- how -------------------------------------------------------------------------------

    def _specs(self, number: int) -> tuple[int, list[Cleanup]]:
        """Specs of jobs, and the place of the first one's stamp."""
        places = [next(self._places) for _ in range(number)]
        return places[0], [Cleanup(labels={"place": str(place)}) for place in places]

    def _job(self, which: str, spec: Cleanup) -> Any:  # noqa: ANN401  a spec, or its JSON for RQ
        return spec if which == "ours" else spec.model_dump(mode="json")

    def _put(self, which: str) -> Callable[[Any], object]:
        queue = self._queues[which]
        return self._bus.enqueue if which == "ours" else lambda job: queue.enqueue(FUNCTION, job)

    def _load(self, which: str, number: int) -> tuple[int, float]:
        """Put many jobs on a queue at once; the place of the first, and the seconds for each."""
        first, specs = self._specs(number)
        if which == "ours":
            return first, _timed(lambda: self._bus.enqueue_many(specs)) / number
        jobs = [Queue.prepare_data(FUNCTION, args=[self._job(which, spec)]) for spec in specs]
        return first, _timed(lambda: self._queues[which].enqueue_many(jobs)) / number

    def _begun(self, which: str, first: int, number: int) -> Sequence[float]:
        """When those jobs have begun, once all of them have ended."""
        for _ in until(60):
            ended: Any = self._redis.zcard(f"rq:finished:{QUEUES[which]}")
            if ended >= number:
                break
        time.sleep(0.1)  # the worker has something left to do after the last of them
        return self._stamps.read(first, number)

    def _forget(self) -> None:
        """Remove all jobs; the workers stay as they are."""
        for purpose in ("rq:queue:", *memory.PURPOSES):
            for raw in self._redis.scan_iter(f"{purpose}*", count=1000):
                self._redis.unlink(raw)


def _timed(step: Callable[[], object]) -> float:
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun
