"""The listing of jobs: newest first, hiding none, whatever is damaged in Redis and whoever tidies up meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from at_once import at_once
from attempting import attempts_on
from dockbus import Bus, Cleanup, JobNotFound
from dockbus.queue.keys import INDEX
from waiting import wait_for

SPEC = Cleanup(labels={"dockbus.test.nobody": "has this"})


def test_jobs_are_listed_newest_first_in_pages(bus: Bus, redis: Redis) -> None:
    made = [bus.enqueue(SPEC).id for _ in range(7)]

    def page(**which: Any) -> list[str]:
        return [record.id for record in bus.jobs(**which)]

    assert page() == made[::-1]
    assert page(limit=3) == made[:3:-1]
    assert page(limit=3, offset=3) == made[3:0:-1]
    assert page(limit=3, offset=99) == []
    assert page(limit=0) == []
    bus.enqueue(SPEC, key="k")
    top = page(limit=1)
    bus.enqueue(SPEC)
    bus.enqueue(SPEC, key="k")  # asked for again: it keeps its place
    assert page(limit=2)[1:] == top


def test_the_index_never_hides_a_job_while_others_tidy_it(bus: Bus, redis: Redis) -> None:
    keys = [str(number) for number in range(100)]
    ids = {bus.enqueue(SPEC, key=key).id: key for key in keys}
    over = threading.Event()

    def work(number: int) -> None:
        if number:
            while not over.is_set():
                attempts_on(bus).mend()
                bus.jobs(limit=200)
            return
        try:
            for job, key in ids.items():
                # Its first job is long gone, and only its entry in the index is left.
                redis.delete(f"rq:job:{job}")
                redis.zadd(INDEX, {job: 1})
                bus.enqueue(SPEC, key=key)
        finally:
            over.set()

    at_once(3, work)

    assert {record.id for record in bus.jobs(limit=1000)} == set(ids)


def test_what_is_no_longer_kept_is_forgotten_and_nothing_else(bus: Bus, redis: Any) -> None:
    kept = [bus.enqueue(SPEC).id for _ in range(5)]
    gone = {f"gone-{number}": 1 for number in range(300)}
    redis.zadd(INDEX, gone)

    def tidied() -> bool:
        assert attempts_on(bus).mend() == []
        return int(redis.zcard(INDEX)) == 5

    wait_for(tidied, what="300 entries to be forgotten")

    assert [record.id for record in bus.jobs()] == kept[::-1]


GARBAGE: dict[str, Callable[[Any, str], object]] = {
    "half deleted": lambda redis, key: redis.hdel(key, "data"),
    "no status": lambda redis, key: redis.hdel(key, "status"),
    "no time": lambda redis, key: redis.hdel(key, "created_at"),
    "no queue": lambda redis, key: redis.hdel(key, "origin"),
    "no signature": lambda redis, key: redis.hdel(key, "sig"),
    "attempts that are no number": lambda redis, key: redis.hset(key, "attempts", "many"),
    "an error that is no error": lambda redis, key: redis.hset(key, "error", "{"),
    "bytes that are no text": lambda redis, key: redis.hset(key, b"\xff", b"\xfe"),
    "a state of no kind": lambda redis, key: redis.hset(key, "status", "sleeping"),
    "a time to come that is none": lambda redis, key: redis.hset(key, "due", "soon"),
    "a time to come that never comes": lambda redis, key: redis.hset(key, "due", "1e300"),
    "facts that are none": lambda redis, key: redis.hset(key, "facts", "{"),
    "succeeded with no result": lambda redis, key: redis.hset(key, "status", "finished"),
    "succeeded with a result of no kind": lambda redis, key: redis.hset(
        key, mapping={"status": "finished", "value": "[1]"}
    ),
    "succeeded with bytes for a result": lambda redis, key: redis.hset(
        key, mapping={"status": "finished", "value": b"\xff"}
    ),
    "a key of the wrong type": lambda redis, key: (redis.delete(key), redis.set(key, "x")),
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_damaged_record_hides_no_other(bus: Bus, redis: Any, garbage: str) -> None:
    before, damaged, after = (bus.enqueue(SPEC, delay=3600) for _ in range(3))

    GARBAGE[garbage](redis, f"rq:job:{damaged.id}")
    redis.zadd(INDEX, {b"\xff\xfe": 5e9, "no such id!": 5e9, "": 5e9})

    listed = [record.id for record in bus.jobs()]
    assert [job for job in listed if job != damaged.id] == [after.id, before.id]
    try:
        record = damaged.refresh()
    except JobNotFound:
        assert damaged.id not in listed
    else:
        assert damaged.id in listed
        assert "\n" not in str(record.error)


def test_counting_queues_changes_nothing(bus: Bus, redis: Any) -> None:
    bus.enqueue(SPEC)
    bus.enqueue(SPEC, delay=3600)
    redis.zadd(
        "rq:wip:cleanup", {"gone:1": 1}
    )  # an orphan: only a worker's maintenance may see to it
    before = {key: redis.dump(key) for key in redis.scan_iter()}

    queue = next(q for q in bus.queues() if q.name == "cleanup")

    assert (queue.queued, queue.scheduled, queue.started, queue.workers) == (1, 1, 1, 0)
    assert {key: redis.dump(key) for key in redis.scan_iter()} == before
