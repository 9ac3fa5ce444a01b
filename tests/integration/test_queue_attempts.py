"""Attempts at jobs on a real Redis: leases, tokens, retries and what becomes of what a dead worker left."""

from __future__ import annotations

import time
from typing import Any

import pytest

from at_once import at_once
from attempting import RESULT, SPEC, attempts_on, settle, states, take
from dockbus import Bus, JobState, LogLine, RetryPolicy
from dockbus.queue import Attempts
from dockbus.queue.scripts import CLEARING
from waiting import wait_for

LEASE = 0.4


@pytest.fixture
def attempts(engineless_bus: Bus) -> Attempts:
    return attempts_on(engineless_bus, LEASE)


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


def lapse(attempts: Attempts, queue: str = "cleanup") -> list[str]:
    """Wait until a lease has run out and is taken back."""
    return list(wait_for(lambda: attempts.reap(queue), 5, "the lease to run out"))


# -- taking -------------------------------------------------------------------------------------


def test_each_job_is_taken_by_exactly_one_of_many(bus: Bus) -> None:
    jobs = {job.id for job in bus.enqueue_many([SPEC] * 300)}
    taken: list[str] = []

    def work(number: int) -> None:
        mine = attempts_on(bus, lease=60)
        while begun := take(mine, number + 1):
            taken.extend(attempt.job for attempt in begun)

    at_once(8, work)

    assert len(taken) == 300
    assert set(taken) == jobs
    assert {record.state for record in bus.jobs(limit=300)} == {JobState.STARTED}


def test_waiting_takes_nothing_and_ends_when_there_is_something(bus: Bus, redis: Any) -> None:
    woken: list[float] = []

    def wait(number: int) -> None:
        if number == 0:
            wait_for(lambda: redis.info("clients")["blocked_clients"] == 4, what="four to wait")
            bus.enqueue(SPEC)
            return
        begun = time.monotonic()
        attempts_on(bus, LEASE).wait("cleanup", 30)
        woken.append(time.monotonic() - begun)

    at_once(5, wait)

    assert len(woken) == 4
    assert max(woken) < 25
    assert redis.llen("rq:queue:cleanup") == 1


def test_entries_that_are_no_queued_jobs_are_dropped_and_told(
    bus: Bus, attempts: Attempts, redis: Any
) -> None:
    ended = bus.enqueue(SPEC)
    ended.cancel()
    redis.set("rq:job:odd", "no hash")
    redis.rpush("rq:queue:cleanup", ended.id, "nobody", "odd", "\xff")
    honest = bus.enqueue(SPEC)

    begun, dropped = attempts.take("cleanup", engine="local", worker="w", most=9)

    assert [attempt.job for attempt in begun] == [honest.id]
    assert len(dropped) == 4
    assert redis.llen("rq:queue:cleanup") == 0
    assert ended.state is JobState.CANCELED


# -- leases and tokens --------------------------------------------------------------------------


def test_a_lease_that_is_not_renewed_puts_the_job_back_with_the_attempt_counted(
    bus: Bus, attempts: Attempts
) -> None:
    job, other = bus.enqueue(SPEC), bus.enqueue(SPEC)
    (first,) = take(attempts)

    assert lapse(attempts) == [job.id]
    assert (job.state, job.refresh().attempts) == (JobState.QUEUED, 1)
    assert attempts.reap("cleanup") == []
    (second,) = take(attempts)

    assert second.job == job.id  # before the other: it has waited already
    assert (second.number, second.token) == (2, "2")
    assert first.token != second.token
    assert other.state is JobState.QUEUED
    assert states(bus, job.id) == ["queued", "started", "queued", "started"]


def test_a_lease_that_is_renewed_holds(bus: Bus, attempts: Attempts, redis: Any) -> None:
    bus.enqueue(SPEC)
    (attempt,) = take(attempts)
    end = time.monotonic() + 4 * LEASE
    while time.monotonic() < end:
        attempts.pulse("cleanup", [attempt])
        assert attempts.reap("cleanup") == []
        time.sleep(LEASE / 8)

    assert attempt.verdict == "go-on"
    assert redis.zcard("rq:wip:cleanup") == 1


def test_a_superseded_attempt_changes_nothing_any_more(
    bus: Bus, attempts: Attempts, redis: Any
) -> None:
    job = bus.enqueue(SPEC)
    (old,) = take(attempts)
    lapse(attempts)
    (new,) = take(attempts)
    before = redis.hgetall(f"rq:job:{job.id}"), redis.zrange("rq:wip:cleanup", 0, -1)

    assert not attempts.claim(old, engine="elsewhere")
    assert not attempts.log(old, [LogLine(stream="stdout", text="late")])
    assert not attempts.conclude(old, "succeeded", RESULT, [LogLine(stream="stdout", text="late")])
    for how in ("succeeded", "failed", "dead", "canceled", "retry", "back"):
        assert not settle(attempts, old, how, RESULT)
    old.verdict = "go-on"
    attempts.pulse("cleanup", [old, new])

    assert (old.verdict, new.verdict) == ("superseded", "go-on")
    assert (redis.hgetall(f"rq:job:{job.id}"), redis.zrange("rq:wip:cleanup", 0, -1)) == before
    assert list(job.logs()) == []
    assert settle(attempts, new, "succeeded", RESULT)
    assert job.wait(timeout=5) is not None
    assert states(bus, job.id)[-1:] == ["succeeded"]


def test_what_is_said_twice_counts_once(bus: Bus, attempts: Attempts, redis: Any) -> None:
    """As by a client that never heard the answer."""
    job = bus.enqueue(SPEC)
    (attempt,) = take(attempts)
    line = LogLine(stream="stdout", text="one")

    assert attempts.log(attempt, [line])
    attempt.batch -= 1
    assert attempts.log(attempt, [line])
    assert settle(attempts, attempt, "retry", '{"code":"x","title":"X."}', pause=60)
    assert settle(attempts, attempt, "retry", '{"code":"x","title":"X."}', pause=60)

    assert [entry.text for entry in job.logs()] == ["one"]
    assert states(bus, job.id) == ["queued", "started", "scheduled"]
    assert redis.zcard("rq:scheduled:cleanup") == 1


def test_many_reapers_at_once_put_each_job_back_once(bus: Bus, redis: Any) -> None:
    bus.enqueue_many([SPEC] * 50)
    take(attempts_on(bus, lease=0.01), 50)
    redis.delete("dockbus:events")
    wait_for(lambda: redis.zcount("rq:wip:cleanup", 0, redis.time()[0]) == 50, what="the end")
    found: list[str] = []

    at_once(8, lambda _: found.extend(attempts_on(bus, LEASE).reap("cleanup")))

    assert len(found) == 50
    assert redis.llen("rq:queue:cleanup") == 50
    assert redis.xlen("dockbus:events") == 50


def test_a_job_handed_back_goes_first_and_has_lost_no_attempt(bus: Bus, attempts: Attempts) -> None:
    job = bus.enqueue(SPEC)
    bus.enqueue(SPEC)
    (attempt,) = take(attempts)

    assert settle(attempts, attempt, "back")
    (again,) = take(attempts)

    assert (again.job, again.number, again.token) == (job.id, 1, "2")


# -- retries and death --------------------------------------------------------------------------


def test_a_failed_attempt_is_followed_by_another_when_its_time_has_come(
    bus: Bus, attempts: Attempts
) -> None:
    job = bus.enqueue(SPEC)
    (attempt,) = take(attempts)

    assert settle(attempts, attempt, "retry", '{"code":"x","title":"X."}', pause=0.3)

    record = job.refresh()
    assert (record.state, record.due and record.due > record.created) == (JobState.SCHEDULED, True)
    assert record.error is not None
    assert record.error.code == "x"
    assert attempts.due("cleanup") == 0
    wait_for(lambda: attempts.due("cleanup"), what="the pause to be over")
    assert job.state is JobState.QUEUED
    (again,) = take(attempts)
    assert settle(attempts, again, "succeeded", RESULT)
    assert job.refresh().error is None


def test_a_job_that_kills_its_workers_is_cleared_away_and_then_given_up(
    bus: Bus, attempts: Attempts
) -> None:
    job = bus.enqueue(SPEC, retry=RetryPolicy(max=1))
    verdicts: list[str] = []
    while begun := take(attempts):
        verdicts += [attempt.verdict for attempt in begun]
        lapse(attempts)

    assert verdicts == ["go-on"] * 2 + ["lost"] * CLEARING
    record = job.refresh()
    assert record.state is JobState.DEAD
    assert record.error is not None
    assert record.error.code == "worker-lost"
    assert states(bus, job.id)[-1] == "dead"


def test_a_conclusion_outlives_the_worker_that_drew_it(bus: Bus, attempts: Attempts) -> None:
    job = bus.enqueue(SPEC)
    (first,) = take(attempts)
    assert attempts.conclude(first, "succeeded", RESULT)
    lapse(attempts)

    (second,) = take(attempts)

    assert first.concluded is None
    assert second.concluded == ("succeeded", RESULT)
    assert settle(attempts, second, "succeeded", RESULT)
    assert job.wait(timeout=5).kind == "cleanup"


def test_the_last_lines_of_a_log_come_with_the_conclusion(bus: Bus, attempts: Attempts) -> None:
    job = bus.enqueue(SPEC)
    (attempt,) = take(attempts)
    assert attempts.log(attempt, [LogLine(stream="stdout", text="first")])

    last = [LogLine(stream="stdout", text="second"), LogLine(stream="stderr", text="third")]
    assert attempts.conclude(attempt, "succeeded", RESULT, last)
    attempt.batch -= 1
    assert attempts.conclude(attempt, "succeeded", RESULT, last)  # the first answer was lost

    assert [line.text for line in job.logs()] == ["first", "second", "third"]


# -- Engines ------------------------------------------------------------------------------------


def test_what_has_begun_on_one_engine_is_not_begun_on_another(bus: Bus, attempts: Attempts) -> None:
    job = bus.enqueue(SPEC)
    (first,) = take(attempts, engine="a")
    assert attempts.claim(first, engine="a")
    assert settle(attempts, first, "back")

    assert take(attempts, engine="b") == []
    assert take(attempts, engine="b", queue="cleanup@b") == []
    (again,) = take(attempts, engine="a", queue="cleanup@a")

    assert again.job == job.id
    assert job.refresh().engine == "a"
    assert {queue.name: queue.started for queue in bus.queues()}["cleanup@a"] == 1


# -- canceling ----------------------------------------------------------------------------------


def test_a_running_job_learns_that_it_is_canceled_and_so_does_its_next_attempt(
    bus: Bus, attempts: Attempts
) -> None:
    job = bus.enqueue(SPEC)
    (attempt,) = take(attempts)

    job.cancel()
    attempts.pulse("cleanup", [attempt])
    assert (attempt.verdict, job.state) == ("cancel", JobState.STARTED)
    lapse(attempts)
    (again,) = take(attempts)

    assert again.verdict == "cancel"
    assert settle(attempts, again, "canceled")
    assert job.state is JobState.CANCELED


def test_a_job_canceled_while_its_attempt_fails_is_cleared_away_soon_however_often_that_fails(
    bus: Bus, attempts: Attempts
) -> None:
    job = bus.enqueue(SPEC)
    (attempt,) = take(attempts)
    job.cancel()

    for _ in range(2):
        assert settle(attempts, attempt, "retry", "{}", pause=3600)
        assert take(attempts) == []  # not at once: what is to be cleared away may be out of reach
        wait_for(lambda: attempts.due("cleanup"), what="the next attempt to be due")
        (attempt,) = take(attempts)
        assert (attempt.verdict, attempt.number) == ("cancel", 1)


# -- mending ------------------------------------------------------------------------------------


def test_jobs_that_others_took_away_come_back(bus: Bus, attempts: Attempts, redis: Any) -> None:
    queued, later, begun = bus.enqueue(SPEC), bus.enqueue(SPEC, delay=3600), bus.enqueue(SPEC)
    (first,) = take(attempts)
    assert first.job == queued.id
    redis.delete("rq:queue:cleanup", "rq:wip:cleanup", "rq:scheduled:cleanup")

    mended: set[str] = set()
    while len(mended) < 3:
        mended.update(attempts.mend())

    assert mended == {queued.id, later.id, begun.id}
    assert later.state is JobState.SCHEDULED
    assert sorted(attempt.job for attempt in take(attempts, 9)) == sorted([queued.id, begun.id])
    assert attempts.mend() == []
