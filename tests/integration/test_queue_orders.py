"""The terms of an order on a real Redis: dependencies, exclusion, priority, bulk, replay, and what is kept."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from attempting import RESULT, SPEC, attempts_on, settle, states, take
from dockbus import (
    Bus,
    Cleanup,
    InvalidSpec,
    JobCanceled,
    JobFailed,
    JobHandle,
    JobNotFound,
    JobNotReplayable,
    JobState,
    KeyConflict,
    Order,
    RetryPolicy,
    Run,
)
from dockbus.queue import Attempts
from waiting import wait_for

OTHER = Cleanup(labels={"dockbus.test.nobody": "has that"})


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


@pytest.fixture
def attempts(engineless_bus: Bus) -> Attempts:
    return attempts_on(engineless_bus, lease=60)


def end(attempts: Attempts, job: JobHandle, how: str = "succeeded") -> None:
    """Take that job, which must be next, and end it."""
    (attempt,) = take(attempts)
    assert attempt.job == job.id
    value = RESULT if how == "succeeded" else '{"code":"x","title":"X."}'
    assert settle(attempts, attempt, how, value)


def here(bus: Bus) -> dict[str, int]:
    queue = next(queue for queue in bus.queues() if queue.name == "cleanup")
    counts = queue.model_dump(include={"queued", "started", "scheduled", "waiting", "failed"})
    return {name: count for name, count in counts.items() if count}


# -- dependencies -------------------------------------------------------------------------------


def test_a_chain_runs_one_after_the_other(bus: Bus, attempts: Attempts) -> None:
    first, second, third = bus.chain(SPEC, OTHER, SPEC)

    assert here(bus) == {"queued": 1, "waiting": 2}
    assert [job.state for job in (first, second, third)] == ["queued", "waiting", "waiting"]
    for job in (first, second, third):
        end(attempts, job)
    assert here(bus) == {}
    assert states(bus, second.id) == ["waiting", "queued", "started", "succeeded"]


def test_a_fan_in_waits_for_the_last(bus: Bus, attempts: Attempts) -> None:
    parents = bus.enqueue_many([SPEC] * 3)
    child = bus.enqueue(OTHER, after=[*parents, parents[0]])

    for parent in parents:
        assert child.state is JobState.WAITING
        end(attempts, parent)

    assert child.state is JobState.QUEUED


@pytest.mark.parametrize("how", ["failed", "dead", "canceled"])
@pytest.mark.parametrize("late", [False, True])
def test_what_a_parents_end_means_is_the_childs_choice(
    bus: Bus, attempts: Attempts, how: str, late: bool
) -> None:
    def children() -> dict[str, JobHandle]:
        return {
            policy: bus.enqueue(OTHER, after=[parent], after_failure=policy)
            for policy in ("fail", "skip", "run")
        }

    parent = bus.enqueue(SPEC)
    made = {} if late else children()
    grandchild = None if late else bus.enqueue(SPEC, after=[made["fail"]])
    end(attempts, parent, how)
    made = made or children()

    assert {policy: job.state for policy, job in made.items()} == {
        "fail": "failed",
        "skip": "canceled",
        "run": "queued",
    }
    with pytest.raises(JobFailed, match=rf"did not succeed.*{parent.id}"):
        made["fail"].wait(timeout=5)
    with pytest.raises(JobCanceled, match=parent.id):
        made["skip"].wait(timeout=5)
    if grandchild:
        assert grandchild.state is JobState.FAILED
    assert here(bus)["queued"] == 1


def test_a_child_of_two_parents_that_fail_ends_once(bus: Bus, attempts: Attempts) -> None:
    root = bus.enqueue(SPEC)
    parents = [bus.enqueue(SPEC, after=[root]) for _ in range(5)]
    child = bus.enqueue(OTHER, after=parents)

    end(attempts, root, "failed")

    assert child.state is JobState.FAILED
    assert states(bus, child.id) == ["waiting", "failed"]


def test_all_that_hang_together_fail_whoever_comes_first(bus: Bus, attempts: Attempts) -> None:
    """Some wait for the root and for each other, so that the root's end reaches them on several ways."""
    root = bus.enqueue(SPEC)
    first = [bus.enqueue(SPEC, after=[root]) for _ in range(80)]  # more than Redis keeps in order
    second = [bus.enqueue(SPEC, after=[root, job]) for job in first for _ in range(2)]
    third = [bus.enqueue(SPEC, after=[root, *first, *second]) for _ in range(3)]
    jobs = [*first, *second, *third]

    end(attempts, root, "failed")

    assert {job.state for job in jobs} == {JobState.FAILED}
    assert all(states(bus, job.id) == ["waiting", "failed"] for job in jobs)
    assert here(bus) == {"failed": 1 + len(jobs)}


def test_a_long_chain_fails_to_its_end(bus: Bus, attempts: Attempts) -> None:
    jobs = bus.chain(*[SPEC] * 2500)

    end(attempts, jobs[0], "failed")

    assert jobs[-1].state is JobState.FAILED
    assert here(bus) == {"failed": 2500}


def test_after_a_job_that_has_succeeded_there_is_no_wait(bus: Bus, attempts: Attempts) -> None:
    parent = bus.enqueue(SPEC)
    end(attempts, parent)

    assert bus.enqueue(OTHER, after=[parent]).state is JobState.QUEUED
    assert bus.enqueue(OTHER, after=[parent], delay=60).state is JobState.SCHEDULED


def test_after_nobody_is_an_error_and_nothing_is_put_on_the_bus(bus: Bus, redis: Any) -> None:
    with pytest.raises(JobNotFound, match="nobody"):
        bus.enqueue(SPEC, after=["nobody"])
    with pytest.raises(InvalidSpec, match="after"):
        bus.enqueue(SPEC, after=["no, such"])

    assert redis.keys() == []


def test_a_waiting_job_is_canceled_at_once_and_stays_so(bus: Bus, attempts: Attempts) -> None:
    parent = bus.enqueue(SPEC)
    child = bus.enqueue(OTHER, after=[parent])

    child.cancel()
    end(attempts, parent)

    assert child.state is JobState.CANCELED
    assert here(bus) == {}


def test_a_child_whose_parent_was_deleted_does_not_wait_for_ever(
    bus: Bus, attempts: Attempts, redis: Any
) -> None:
    parent = bus.enqueue(SPEC)
    child = bus.enqueue(OTHER, after=[parent])
    redis.delete(f"rq:job:{parent.id}", "rq:queue:cleanup")

    wait_for(lambda: attempts.mend() or child.state.ended, what="it to be found")

    assert child.state is JobState.FAILED


# -- exclusion ----------------------------------------------------------------------------------


def test_only_one_of_those_that_exclude_each_other_runs(bus: Bus, attempts: Attempts) -> None:
    jobs = [bus.enqueue(SPEC, exclusive="image:web") for _ in range(3)]
    free = bus.enqueue(SPEC)

    begun = take(attempts, 9)

    assert [attempt.job for attempt in begun] == [jobs[0].id, free.id]
    assert [job.state for job in jobs[1:]] == [JobState.WAITING] * 2
    assert take(attempts, 9) == []
    for this, following in pairwise(jobs):
        held = next(attempt for attempt in begun if attempt.job == this.id)
        assert settle(attempts, held, "succeeded", RESULT)
        begun = take(attempts, 9)
        assert [attempt.job for attempt in begun] == [following.id]


def test_exclusion_lasts_through_retries_and_ends_with_the_job(
    bus: Bus, attempts: Attempts
) -> None:
    first, second, third = (bus.enqueue(SPEC, exclusive="x") for _ in range(3))
    (held,) = take(attempts, 9)
    assert settle(attempts, held, "retry", "{}", pause=3600)
    assert take(attempts, 9) == []

    second.cancel()  # one in line goes
    first.cancel()  # and the one that holds it

    assert [attempt.job for attempt in take(attempts, 9)] == [third.id]


def test_what_a_vanished_job_held_is_free(bus: Bus, attempts: Attempts, redis: Any) -> None:
    jobs = [bus.enqueue(SPEC, exclusive="x") for _ in range(3)]
    assert len(take(attempts, 9)) == 1
    redis.delete(f"rq:job:{jobs[0].id}")

    wait_for(attempts.mend, what="those in line to be found")
    begun = take(attempts, 9)

    assert len(begun) == 1
    assert {job.state for job in jobs[1:]} == {JobState.STARTED, JobState.WAITING}


# -- bulk ---------------------------------------------------------------------------------------


def test_many_jobs_have_the_same_guarantees_as_one(bus: Bus, attempts: Attempts) -> None:
    orders = [Order(spec=SPEC, key=f"bulk {number % 1500}") for number in range(2500)]

    jobs = bus.enqueue_many(orders)

    assert len({job.id for job in jobs}) == 1500
    assert here(bus) == {"queued": 1500}
    assert [job.id for job in bus.enqueue_many(orders[:3])] == [job.id for job in jobs[:3]]
    with pytest.raises(KeyConflict, match="bulk 7"):
        bus.enqueue_many([Order(spec=SPEC), Order(spec=OTHER, key="bulk 7")])
    assert here(bus) == {"queued": 1501}
    assert all(attempt.order.spec == SPEC for attempt in take(attempts, 2000))  # type: ignore[union-attr]


def test_one_order_that_is_too_large_keeps_all_off_the_bus(bus: Bus, redis: Any) -> None:
    with pytest.raises(InvalidSpec, match="may have"):
        bus.enqueue_many([SPEC, Run(image="x", command=["y" * 2**21])])

    assert redis.keys() == []


def test_keys_hold_on_a_bus_that_was_emptied_meanwhile(bus: Bus, redis: Any) -> None:
    before = bus.enqueue(SPEC, key="once").id
    redis.flushdb()
    other = Bus(bus.settings)

    ids = {bus.enqueue(SPEC, key="once").id, other.enqueue(SPEC, key="once").id}

    other.close()
    assert len(ids) == 1
    assert before not in ids  # another bus: its containers are not this one's
    assert here(bus) == {"queued": 1}


# -- replay -------------------------------------------------------------------------------------


def test_a_dead_job_is_replayed_on_its_own_terms_and_once(bus: Bus, attempts: Attempts) -> None:
    job = bus.enqueue(
        SPEC, priority="high", timeout=7, retry=RetryPolicy(max=0), delay=0, key="replay me"
    )
    with pytest.raises(JobNotReplayable, match="queued"):
        bus.replay(job.id)
    end(attempts, job, "dead")

    again = bus.replay(job.id)

    assert again.id != job.id
    assert bus.replay(job.id).id == again.id
    record = again.refresh()
    assert record.terms is not None
    assert (record.spec, record.state) == (SPEC, JobState.QUEUED)
    assert (record.terms.timeout, record.terms.priority, record.terms.replay_of) == (
        7,
        "high",
        job.id,
    )
    assert job.state is JobState.DEAD


def test_a_replay_with_edits_is_another_job(bus: Bus, attempts: Attempts) -> None:
    job = bus.enqueue(SPEC)
    end(attempts, job, "failed")

    again = bus.replay(job.id, {"dry_run": True, "labels": {"a": "b"}})

    spec = again.refresh().spec
    assert isinstance(spec, Cleanup)
    assert (spec.dry_run, spec.labels) == (True, {"a": "b"})
    with pytest.raises(InvalidSpec, match="dryrun"):
        bus.replay(job.id, {"dryrun": True})


# -- what is kept -------------------------------------------------------------------------------


def test_nothing_of_an_ended_job_is_kept_for_ever(bus: Bus, attempts: Attempts, redis: Any) -> None:
    for how in ("succeeded", "failed", "canceled"):
        job = bus.enqueue(SPEC, exclusive="x")
        bus.enqueue(OTHER, after=[job])
        end(attempts, job, how)
        for attempt in take(attempts, 9):
            settle(attempts, attempt, "succeeded", RESULT)
    lasting = {key.decode() for key in redis.scan_iter() if redis.ttl(key) == -1}

    assert lasting <= {
        "dockbus:bus",
        "dockbus:events",
        "dockbus:exemplars",
        "dockbus:jobs",
        "dockbus:tally",
        "rq:queues",
        "rq:finished:cleanup",
        "rq:failed:cleanup",
        "rq:canceled:cleanup",
    }


def test_a_finished_job_takes_little_memory(bus: Bus, attempts: Attempts, redis: Any) -> None:
    """Two kilobytes at most beside its log, its entries in sorted sets too; RQ alone takes five."""
    bus.enqueue_many([SPEC] * 500)
    while begun := take(attempts, 100):
        for attempt in begun:
            settle(attempts, attempt, "succeeded", RESULT)
    redis.delete("dockbus:events")  # capped, so not a job's own

    def used(pattern: str) -> float:
        keys = redis.scan_iter(pattern)
        return float(sum(redis.memory_usage(key, samples=0) for key in keys) / 500)

    assert 200 < used("dockbus:log:*") < 1000
    assert used("*") - used("dockbus:log:*") < 2048


def test_jobs_are_found_by_their_state(bus: Bus, attempts: Attempts) -> None:
    dead, failed, queued = (bus.enqueue(SPEC) for _ in range(3))
    end(attempts, dead, "dead")
    end(attempts, failed, "failed")

    def found(*states: JobState, **page: int) -> list[str]:
        return [record.id for record in bus.jobs(states=states, **page)]

    assert found(JobState.DEAD) == [dead.id]
    assert found(JobState.DEAD, JobState.FAILED) == [failed.id, dead.id]
    assert found(JobState.DEAD, JobState.FAILED, offset=1, limit=1) == [dead.id]
    assert found(JobState.QUEUED) == [queued.id]
    assert found(JobState.CANCELED) == []
