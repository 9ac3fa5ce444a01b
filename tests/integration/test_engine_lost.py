"""What becomes of the jobs of an Engine that is lost, in Redis: those that had begun there and may begin anew elsewhere do."""

from __future__ import annotations

from typing import Any

import pytest

from attempting import SPEC, attempts_on, settle, states, take
from dockbus import Bus, JobHandle, JobState, RetryPolicy
from dockbus.queue import Attempt, Attempts
from waiting import wait_for

LEASE = 0.4


@pytest.fixture
def attempts(engineless_bus: Bus) -> Attempts:
    return attempts_on(engineless_bus, LEASE)


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


def begun(bus: Bus, attempts: Attempts, *, anew: bool = True) -> tuple[JobHandle, Attempt]:
    """A job that has begun on Engine a, and the attempt."""
    job = bus.enqueue(SPEC)
    (attempt,) = take(attempts, engine="a")
    assert attempts.claim(attempt, engine="a", anew=anew)
    return job, attempt


def handed_back(bus: Bus, attempts: Attempts, *, anew: bool = True) -> JobHandle:
    """One that waits for Engine a."""
    job, attempt = begun(bus, attempts, anew=anew)
    assert settle(attempts, attempt, "back")
    assert job.refresh().queue == "cleanup@a"
    return job


def test_what_had_begun_begins_anew_and_what_names_the_engine_waits(
    bus: Bus, attempts: Attempts
) -> None:
    pinned = [bus.enqueue(SPEC, engine="a") for _ in range(3)]
    bound = handed_back(bus, attempts, anew=False)
    jobs = [handed_back(bus, attempts) for _ in range(3)]
    assert attempts.engines("cleanup") == ["a"]

    sent = attempts.begin_anew("cleanup@a")

    assert sorted(sent) == sorted(job.id for job in jobs)
    taken = take(attempts, 9, engine="b")
    assert [attempt.job for attempt in taken] == [job.id for job in reversed(jobs)]
    for attempt, job in zip(reversed(taken), jobs, strict=True):
        assert attempt.number == 1  # the one before was handed back
        assert job.refresh().engine is None
        assert states(bus, job.id)[-3:] == ["queued", "queued", "started"]
        assert attempts.claim(attempt, engine="b", anew=True)
        assert job.refresh().engine == "b"
    for stays in (*pinned, bound):
        assert stays.refresh().queue == "cleanup@a"
    assert attempts.begin_anew("cleanup@a") == []


def test_a_pinned_job_that_had_begun_waits_too(bus: Bus, attempts: Attempts) -> None:
    job = bus.enqueue(SPEC, engine="a")
    (attempt,) = take(attempts, engine="a", queue="cleanup@a")
    assert attempts.claim(attempt, engine="a", anew=True)
    assert settle(attempts, attempt, "back")

    assert attempts.begin_anew("cleanup@a") == []
    assert job.refresh().engine == "a"


def test_one_whose_worker_died_is_no_longer_that_workers(
    bus: Bus, attempts: Attempts, redis: Any
) -> None:
    job, first = begun(bus, attempts)
    wait_for(lambda: attempts.reap("cleanup"), 5, "the lease to run out")
    # And once more, by the Engine's own workers.
    (second,) = take(attempts, engine="a", queue="cleanup@a")
    assert attempts.begin_anew("cleanup@a") == []  # it is under way
    wait_for(lambda: attempts.reap("cleanup@a"), 5, "the lease to run out")

    assert attempts.begin_anew("cleanup@a") == [job.id]
    (third,) = take(attempts, engine="b")

    assert third.number == 3
    for late in (first, second):
        assert not attempts.claim(late, engine="a", anew=True)
        assert not settle(attempts, late, "failed", "{}")
    assert settle(attempts, third, "failed", "{}")
    assert job.state is JobState.FAILED
    assert redis.hexists(f"rq:job:{job.id}", "anew") == 0


def test_one_whose_attempts_are_used_up_is_not_done_again_elsewhere(
    bus: Bus, attempts: Attempts
) -> None:
    job = bus.enqueue(SPEC, retry=RetryPolicy(max=0))
    (attempt,) = take(attempts, engine="a")
    assert attempts.claim(attempt, engine="a", anew=True)
    wait_for(lambda: attempts.reap("cleanup"), 5, "the lease to run out")

    assert attempts.begin_anew("cleanup@a") == [job.id]

    assert take(attempts, engine="b")[0].verdict == "lost"


def test_one_that_waits_for_its_next_attempt_goes_when_that_is_due(
    bus: Bus, attempts: Attempts
) -> None:
    job, attempt = begun(bus, attempts)
    assert settle(attempts, attempt, "retry", "{}", pause=0.1)
    assert attempts.begin_anew("cleanup@a") == []
    wait_for(lambda: attempts.due("cleanup"), what="it to be due")

    assert attempts.begin_anew("cleanup@a") == [job.id]
    assert take(attempts, engine="b")[0].job == job.id


def test_no_more_than_both_ends_of_a_long_queue_are_looked_at(
    bus: Bus, attempts: Attempts, redis: Any
) -> None:
    redis.rpush("rq:queue:cleanup@a", *(f"other-{number}" for number in range(2500)))
    front, back = handed_back(bus, attempts), handed_back(bus, attempts)
    redis.lrem("rq:queue:cleanup@a", 1, back.id)
    redis.rpush("rq:queue:cleanup@a", back.id)

    assert sorted(attempts.begin_anew("cleanup@a")) == sorted([front.id, back.id])
    assert redis.llen("rq:queue:cleanup@a") == 2500


def test_what_is_spoiled_in_the_queue_stays_and_harms_nothing(
    bus: Bus, attempts: Attempts, redis: Any
) -> None:
    job = handed_back(bus, attempts)
    redis.set("rq:job:odd", "no hash")
    redis.rpush("rq:queue:cleanup@a", "nobody", "odd", "\xff")

    assert attempts.begin_anew("cleanup@a") == [job.id]
    assert redis.llen("rq:queue:cleanup@a") == 3
