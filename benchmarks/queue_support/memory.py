"""What is left in Redis of jobs that have ended, in bytes, by what it is for.

Every key is looked at and must be known, so that nothing is missing from the sum.
"""

# RQ's and redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from redis import Redis

PURPOSES = {
    "rq:job:": "record",
    "rq:finished:": "registry",
    "rq:results:": "result",  # RQ's only: our result is in the record
    "dockbus:jobs": "index",
    "dockbus:log:": "log",
    "dockbus:events": "events",
}
ONCE = (
    *(
        "rq:queues",
        "rq:queue:",
        "rq:workers",
        "rq:worker:",
        "rq:clean_registries:",
        "rq:clean_groups",
    ),
    *("dockbus:bus", "dockbus:engine:"),
)
"""What there is once for a bus, a queue, a worker or an Engine, however many jobs they have had."""


def remains(redis: Redis, jobs: int) -> Mapping[str, int]:
    """Bytes for each job, by purpose.

    Raises:
        RuntimeError: there is a key of which nobody knows what it is for.
    """
    total: Counter[str] = Counter()
    for raw in redis.scan_iter(count=1000):
        key = raw.decode()
        if key.startswith(ONCE):
            continue
        purpose = next((name for start, name in PURPOSES.items() if key.startswith(start)), None)
        if purpose is None:
            raise RuntimeError(
                f"jobs that have ended have left {key}: say in PURPOSES what it is for"
            )
        used: Any = redis.memory_usage(raw, samples=0)
        total[purpose] += used
    return {purpose: round(size / jobs) for purpose, size in total.items()}
