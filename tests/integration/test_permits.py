"""Permits on a real Redis: so many at a time and no more, and none kept by the dead."""

from __future__ import annotations

import threading
import time

import pytest

from at_once import at_once
from attempting import SPEC, attempts_on, settle, take
from dockbus import Bus
from dockbus.queue import Attempt, Attempts
from waiting import wait_for

LEASE = 0.4


def begun(bus: Bus, attempts: Attempts, count: int) -> list[Attempt]:
    bus.enqueue_many([SPEC] * count)
    return take(attempts, count)


def test_no_more_than_the_limit_have_a_permit(engineless_bus: Bus) -> None:
    attempts = attempts_on(engineless_bus)
    first, second, third = begun(engineless_bus, attempts, 3)

    assert attempts.permit(first, "build", 2) is None
    assert attempts.permit(second, "build", 2) is None
    assert attempts.permit(third, "build", 2) in (first.job, second.job)
    assert attempts.permit(third, "another", 1) is None

    attempts.release(first, "build")

    assert attempts.permit(third, "build", 2) is None
    assert attempts.permit(first, "build", 2) in (second.job, third.job)


def test_asking_again_changes_nothing(engineless_bus: Bus) -> None:
    attempts = attempts_on(engineless_bus)
    first, second = begun(engineless_bus, attempts, 2)

    assert attempts.permit(first, "build", 1) is None
    assert attempts.permit(first, "build", 1) is None
    assert attempts.permit(second, "build", 1) == first.job


def test_an_attempt_that_has_ended_keeps_no_permit(engineless_bus: Bus) -> None:
    attempts = attempts_on(engineless_bus)
    first, second = begun(engineless_bus, attempts, 2)
    attempts.permit(first, "build", 1)

    settle(attempts, first, "canceled")

    assert attempts.permit(second, "build", 1) is None


def test_a_worker_that_died_keeps_no_permit(engineless_bus: Bus) -> None:
    attempts = attempts_on(engineless_bus, LEASE)
    (lost,) = begun(engineless_bus, attempts, 1)
    attempts.permit(lost, "build", 1)
    (other,) = begun(engineless_bus, attempts_on(engineless_bus), 1)
    assert attempts.permit(other, "build", 1) == lost.job

    wait_for(lambda: attempts.reap("cleanup"), 5, "the lease to run out")

    assert attempts.permit(other, "build", 1) is None


def test_a_superseded_attempt_gets_none_and_takes_none_away(engineless_bus: Bus) -> None:
    attempts = attempts_on(engineless_bus, LEASE)
    (old,) = begun(engineless_bus, attempts, 1)
    wait_for(lambda: attempts.reap("cleanup"), 5, "the lease to run out")
    (new,) = take(attempts_on(engineless_bus))
    assert new.job == old.job
    assert attempts.permit(new, "build", 1) is None

    assert attempts.permit(old, "build", 1) == old.job
    assert old.verdict == "superseded"
    attempts.release(old, "build")

    (third,) = begun(engineless_bus, attempts_on(engineless_bus), 1)
    assert attempts.permit(third, "build", 1) == new.job


@pytest.mark.parametrize("limit", [1, 3])
def test_many_at_once_share_fairly_few(engineless_bus: Bus, limit: int) -> None:
    attempts = attempts_on(engineless_bus)
    mine = begun(engineless_bus, attempts, 8)
    lock, holding, most, rounds = threading.Lock(), 0, 0, 0

    def work(number: int) -> None:
        nonlocal holding, most, rounds
        for _ in range(5):
            while attempts.permit(mine[number], "build", limit) is not None:
                time.sleep(0.001)
            with lock:
                holding += 1
                most = max(most, holding)
                rounds += 1
            time.sleep(0.002)
            with lock:
                holding -= 1
            attempts.release(mine[number], "build")

    at_once(8, work)

    assert rounds == 40
    assert most == limit
