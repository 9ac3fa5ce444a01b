"""What jobs, events, rules and sinks raise in the tally, on a real Redis: once each, whatever is said twice."""

from __future__ import annotations

from typing import Any

import pytest

from attempting import RESULT, SPEC, attempts_on, settle, take
from dockbus import Bus, RetryPolicy, tally
from dockbus.events import Event
from dockbus.queue import Attempts
from dockbus.tally import KEY, LEFT_OUT, Tally, sample
from waiting import wait_for


@pytest.fixture
def bus(engineless_bus: Bus) -> Bus:
    return engineless_bus


@pytest.fixture
def attempts(bus: Bus) -> Attempts:
    return attempts_on(bus, 0.4)


def told(bus: Bus) -> dict[str, float]:
    """All samples, as they are written."""
    raw: Any = bus.redis.hgetall(KEY)
    return {field.decode(): float(value) for field, value in raw.items()}


CLEANUP = {"kind": "cleanup", "queue": "cleanup"}


def test_a_job_is_counted_as_it_goes(bus: Bus, attempts: Attempts) -> None:
    done, canceled = bus.enqueue(SPEC), bus.enqueue(SPEC)
    canceled.cancel()
    (attempt,) = take(attempts, 1)
    settle(attempts, attempt, "succeeded", RESULT)
    settle(attempts, attempt, "succeeded", RESULT)  # its answer was lost

    found = told(bus)
    assert found[sample("dockbus_jobs_enqueued_total", **CLEANUP)] == 2
    assert found[sample("dockbus_jobs_total", **CLEANUP, outcome="succeeded")] == 1
    assert found[sample("dockbus_jobs_total", **CLEANUP, outcome="canceled")] == 1
    for name in ("dockbus_job_wait_seconds", "dockbus_job_run_seconds"):
        buckets = {key: n for key, n in found.items() if key.startswith(f"{name}_bucket")}
        assert sum(buckets.values()) == 1  # the one that was canceled did not run
        (bucket,) = buckets
        exemplar = Tally(bus.redis).exemplars()[bucket]
        assert exemplar.job == done.id
        total = found[sample(f"{name}_sum", **CLEANUP)]
        assert exemplar.value == pytest.approx(total)
        assert total >= 0


def test_further_attempts_are_counted_by_their_reason(bus: Bus, attempts: Attempts) -> None:
    bus.enqueue(SPEC, retry=RetryPolicy(max=5))
    (attempt,) = take(attempts, 1)
    settle(attempts, attempt, "back")
    take(attempts, 1)
    wait_for(lambda: attempts.reap("cleanup"), 5, "the lease to run out")
    (attempt,) = take(attempts, 1)
    settle(attempts, attempt, "retry", "{}")

    found = told(bus)
    reasons = {
        reason: found[sample("dockbus_job_retries_total", kind="cleanup", reason=reason)]
        for reason in ("handed-back", "lost", "failed")
    }
    assert reasons == {"handed-back": 1, "lost": 1, "failed": 1}
    assert found[sample("dockbus_jobs_rescued_total", action="worker-lost")] == 1


def test_what_an_attempt_has_measured_counts_unless_it_is_superseded(
    bus: Bus, attempts: Attempts
) -> None:
    bus.enqueue(SPEC, retry=RetryPolicy(max=5))
    (late,) = take(attempts, 1)
    late.counts = {sample("dockbus_scans_total", verdict="passed"): 1}
    wait_for(lambda: attempts.reap("cleanup"), 5, "the lease to run out")
    assert not settle(attempts, late, "succeeded", RESULT)
    assert sample("dockbus_scans_total", verdict="passed") not in told(bus)

    (second,) = take(attempts, 1)
    second.counts = {sample("dockbus_scans_total", verdict="passed"): 2.5}
    assert settle(attempts, second, "succeeded", RESULT)
    assert settle(attempts, second, "succeeded", RESULT)
    assert told(bus)[sample("dockbus_scans_total", verdict="passed")] == 2.5


def test_an_event_is_counted_when_it_is_new(bus: Bus) -> None:
    event = Event(source="/test", type="io.test.happened")
    for _ in range(3):
        bus.event_stream.publish(event, counted="dockbus_test_total")

    assert told(bus)["dockbus_test_total"] == 1


def test_there_is_room_for_so_many_samples(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MOST", 3)
    ours = Tally(bus.redis)
    for number in range(5):
        ours.add({sample("dockbus_test_total", number=str(number)): 1.0})
    ours.add({sample("dockbus_test_total", number="0"): 1.0})

    found = told(bus)
    assert found.pop(LEFT_OUT) == 2
    assert found == {
        sample("dockbus_test_total", number="0"): 2,
        sample("dockbus_test_total", number="1"): 1,
        sample("dockbus_test_total", number="2"): 1,
    }


def test_a_tally_that_somebody_has_spoilt_stops_no_job(bus: Bus, attempts: Attempts) -> None:
    bus.redis.set(KEY, "no hash")
    job = bus.enqueue(SPEC)
    (attempt,) = take(attempts, 1)

    assert settle(attempts, attempt, "succeeded", RESULT)
    assert job.refresh().state.value == "succeeded"
