"""The bus against a real Redis: one job per key, exact queues, delays and cancels that happen once."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from at_once import at_once
from attempting import attempts_on
from dockbus import (
    Bus,
    Cleanup,
    InvalidSpec,
    JobCanceled,
    JobHandle,
    JobNotCancelable,
    JobNotFound,
    JobState,
    KeyConflict,
    Pull,
    Run,
    WaitTimeout,
)
from waiting import wait_for

SPEC = Cleanup(labels={"dockbus.test.nobody": "has this"})


def waiting_in(redis: Any, queue: str) -> list[str]:
    """The IDs on a queue, the next one first."""
    return [raw.decode() for raw in redis.lrange(f"rq:queue:{queue}", 0, -1)]


def said(bus: Bus) -> list[str]:
    """The last word of all events so far."""
    return [stored.event.type.rpartition(".")[2] for stored in bus.events(since="0", follow=False)]


def test_an_accepted_job_is_there_in_every_view(bus: Bus, redis: Any) -> None:
    job = bus.enqueue(SPEC)

    record = bus.job(job.id).refresh()
    assert (record.state, record.spec, record.queue) == (JobState.QUEUED, SPEC, "cleanup")
    assert (record.attempts, record.result, record.error) == (0, None, None)
    assert bus.jobs() == [record]
    assert waiting_in(redis, "cleanup") == [job.id]
    assert next(q for q in bus.queues() if q.name == "cleanup").queued == 1
    assert said(bus) == ["queued"]


def test_high_goes_before_all_that_waits(bus: Bus, redis: Any) -> None:
    jobs = [bus.enqueue(SPEC, priority=how).id for how in ("normal", "normal", "high", "high")]

    assert waiting_in(redis, "cleanup") == [jobs[3], jobs[2], jobs[0], jobs[1]]


def test_a_job_for_one_engine_has_a_queue_of_its_own(bus: Bus, redis: Any) -> None:
    job = bus.enqueue(SPEC, engine="edge-1")

    assert waiting_in(redis, "cleanup@edge-1") == [job.id]
    assert [q.name for q in bus.queues() if q.queued] == ["cleanup@edge-1"]
    assert {q.name for q in bus.queues()} >= {"pull", "build", "run", "scan", "cleanup"}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"priority": "urgent"}, "priority"),
        ({"engine": "Not/A/Name"}, "engine"),
        ({"engine": ""}, "engine"),
        ({"delay": -1}, "delay"),
        ({"delay": float("nan")}, "delay"),
        ({"delay": float("inf")}, "delay"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": 1e9}, "timeout"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_put_on_the_bus(
    bus: Bus, redis: Any, wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidSpec, match=named):
        bus.enqueue(SPEC, **wrong)

    assert redis.keys() == []


def test_a_spec_that_no_worker_would_unpack_is_refused_at_once(bus: Bus, redis: Any) -> None:
    with pytest.raises(InvalidSpec, match="a job may have 1048576"):
        bus.enqueue(Run(image="busybox", command=["x" * 2**21]))

    assert redis.keys() == []


# -- keys ---------------------------------------------------------------------------------------


def test_a_key_stands_for_one_job(bus: Bus, redis: Any) -> None:
    first = bus.enqueue(Run(image="x", env={"A": "1", "B": "2"}), key="ä key\0 of any sort")
    again = bus.enqueue(Run(image="x", env={"B": "2", "A": "1"}), key="ä key\0 of any sort")

    with pytest.raises(KeyConflict, match=first.id):
        bus.enqueue(Run(image="x"), key="ä key\0 of any sort")

    assert again.id == first.id
    assert waiting_in(redis, "run") == [first.id]
    assert said(bus) == ["queued"]


def test_fifty_threads_with_one_key_make_one_job(bus: Bus, redis: Any) -> None:
    jobs: list[JobHandle] = []
    at_once(50, lambda number: jobs.append(bus.enqueue(SPEC, key="k", delay=60 * (number % 2))))

    assert len({job.id for job in jobs}) == 1
    assert len(jobs) == 50
    assert len(bus.jobs()) == 1
    queue = next(q for q in bus.queues() if q.name == "cleanup")
    assert queue.queued + queue.scheduled == 1
    assert len(said(bus)) == 1


def test_a_key_is_free_again_when_its_job_is_no_longer_kept(bus: Bus, redis: Any) -> None:
    job = bus.enqueue(SPEC, key="k")
    job.cancel()
    redis.delete(f"rq:job:{job.id}")  # as it expires

    again = bus.enqueue(Pull(image="busybox"), key="k")

    assert again.id == job.id
    assert again.state is JobState.QUEUED
    assert [record.kind for record in bus.jobs()] == ["pull"]


@pytest.mark.parametrize("stump", ["heartbeat of a worker", "something else altogether"])
def test_a_key_is_not_blocked_by_what_is_left_of_a_lost_job(
    bus: Bus, redis: Any, stump: str
) -> None:
    job = bus.enqueue(SPEC, key="k")
    redis.flushdb()
    if stump == "heartbeat of a worker":
        redis.hset(f"rq:job:{job.id}", "last_heartbeat", "2026-11-21T12:00:00Z")
    else:
        redis.set(f"rq:job:{job.id}", "x")

    assert bus.jobs() == []
    with pytest.raises(JobNotFound):
        bus.job(job.id)
    assert bus.enqueue(SPEC, key="k").state is JobState.QUEUED
    assert len(bus.jobs()) == 1


# -- delay --------------------------------------------------------------------------------------


def test_a_delayed_job_is_queued_when_due_and_exactly_once(bus: Bus, redis: Any) -> None:
    attempts = attempts_on(bus)
    soon, later = bus.enqueue(SPEC, delay=1), bus.enqueue(SPEC, delay=3600)
    assert attempts.due("cleanup") == 0
    assert soon.state is JobState.SCHEDULED
    wait_for(lambda: attempts.due("cleanup"), what="the job to be due")
    assert (soon.state, waiting_in(redis, "cleanup")) == (JobState.QUEUED, [soon.id])
    redis.delete("rq:queue:cleanup")

    due = [bus.enqueue(SPEC, delay=3600).id for _ in range(40)]
    redis.zadd("rq:scheduled:cleanup", dict.fromkeys(due, 1))  # their time has come
    moved: list[int] = []
    at_once(16, lambda _: moved.append(attempts.due("cleanup")))

    assert sum(moved) == 40
    assert sorted(waiting_in(redis, "cleanup")) == sorted(due)
    assert {bus.job(job).state for job in due} == {JobState.QUEUED}
    assert later.state is JobState.SCHEDULED


def test_a_scheduled_job_that_is_gone_is_not_brought_back(bus: Bus, redis: Any) -> None:
    job = bus.enqueue(SPEC, delay=3600)
    redis.delete(f"rq:job:{job.id}")
    redis.zadd("rq:scheduled:cleanup", {job.id: 1, b"\xff": 1})

    assert attempts_on(bus).due("cleanup") == 0

    assert redis.exists(f"rq:job:{job.id}") == 0
    assert waiting_in(redis, "cleanup") == []


# -- cancel -------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 3600])
def test_what_has_not_begun_is_canceled_at_once_and_once(
    bus: Bus, redis: Any, delay: float
) -> None:
    job = bus.enqueue(SPEC, delay=delay)

    job.cancel()

    assert job.state is JobState.CANCELED
    with pytest.raises(JobNotCancelable, match="canceled"):
        job.cancel()
    with pytest.raises(JobCanceled):
        job.wait(timeout=60)
    assert waiting_in(redis, "cleanup") == []
    redis.zadd("rq:scheduled:cleanup", {"nobody": 1})
    assert attempts_on(bus).due("cleanup") == 0
    assert said(bus)[1:] == ["canceled"]
    for key in redis.keys(f"*{job.id}*"):
        assert redis.ttl(key) > 0, f"{key} is kept for ever"


def test_many_threads_cancel_a_job_once(bus: Bus, redis: Any) -> None:
    job = bus.enqueue(SPEC)
    refused: list[int] = []

    def cancel(number: int) -> None:
        try:
            job.cancel()
        except JobNotCancelable:
            refused.append(number)

    at_once(12, cancel)

    assert len(refused) == 11
    assert said(bus) == ["queued", "canceled"]


def test_a_job_that_is_nowhere_cannot_be_canceled(bus: Bus, redis: Any) -> None:
    for name in ("nobody", "no such ID!", "ä" * 300, ""):
        with pytest.raises(JobNotFound):
            bus.cancel(name)
        with pytest.raises(JobNotFound):
            bus.job(name)


# -- wait and follow ----------------------------------------------------------------------------


def test_waiting_ends_in_time_and_says_how_the_job_stands(bus: Bus, redis: Any) -> None:
    job = bus.enqueue(SPEC, delay=3600)

    with pytest.raises(WaitTimeout, match=r"is scheduled after 0\.3 s"):
        job.wait(timeout=0.3)
    with pytest.raises(WaitTimeout):
        job.wait(timeout=0)


def test_a_follower_of_a_job_without_a_log_sees_its_end(bus: Bus, redis: Any) -> None:
    job = bus.enqueue(SPEC)
    job.cancel()
    redis.delete(f"dockbus:log:{job.id}")

    assert list(job.follow(timeout=10)) == []
    assert list(job.logs(follow=True)) == []


def test_a_waiter_learns_that_the_job_is_no_longer_kept(bus: Bus, redis: Any) -> None:
    job = bus.enqueue(SPEC)
    redis.delete(f"rq:job:{job.id}")

    with pytest.raises(JobNotFound):
        job.wait(timeout=60)


def test_a_bus_is_shared_by_threads(bus: Bus, redis: Any) -> None:
    count = itertools.count()

    def work(_: int) -> None:
        for _ in range(10):
            job = bus.enqueue(SPEC, key=str(next(count)))
            assert job.state is JobState.QUEUED
            job.cancel()

    at_once(16, work)

    assert {record.state for record in bus.jobs(limit=500)} == {JobState.CANCELED}
    assert len(bus.jobs(limit=500)) == 160
