"""RQ's own command line sees the truth on a dockbus Redis, and does no harm there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attempting import RESULT, SPEC, attempts_on, settle, take
from dockbus import Bus, JobState, Run
from dockbus.jobs.running import Network
from processes import Program
from waiting import wait_for


def rq_info(url: str, *options: str) -> str:
    """What `rq info` prints."""
    done = subprocess.run(
        [Path(sys.executable).with_name("rq"), "info", "--raw", "-u", url, *options],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def counts(output: str, queue: str) -> tuple[int, ...]:
    """Queued, executing, finished and failed jobs of a queue."""
    line = re.search(
        rf"^queue {queue} (\d+), (\d+) executing, (\d+) finished, (\d+) failed$",
        output,
        re.MULTILINE,
    )
    assert line, output
    return tuple(map(int, line.groups()))


def test_queues_are_counted_truthfully(engineless_bus: Bus, redis_url: str) -> None:
    bus, attempts = engineless_bus, attempts_on(engineless_bus)
    bus.enqueue_many([SPEC] * 6)
    bus.enqueue(SPEC, delay=60)
    done, failed, dead, _ = take(attempts, 4)
    settle(attempts, done, "succeeded", RESULT)
    settle(attempts, failed, "failed", "{}")
    settle(attempts, dead, "dead", "{}")

    assert counts(rq_info(redis_url), "cleanup") == (2, 1, 1, 2)


@pytest.mark.usefixtures("base_image")
def test_a_worker_is_shown_busy_while_a_job_runs_and_idle_again(
    bus: Bus, redis_url: str, start: Callable[..., Program]
) -> None:
    spec = Run(
        image="dockbus/base:1",
        command=["sleep", "300"],
        networks=[Network(name="none")],
        stop_timeout=0,
    )
    start("worker", "run")

    def workers() -> dict[str, tuple[str, int]]:
        found = re.findall(
            r"^worker .* (idle|busy|starting) (run\S*)\. jobs: (\d+) finished",
            rq_info(redis_url),
            re.MULTILINE,
        )
        return {queue: (state, int(finished)) for state, queue, finished in found}

    wait_for(
        lambda: workers() == {"run": ("idle", 0), "run@local": ("idle", 0)}, 30, "two idle workers"
    )
    job = bus.enqueue(spec)
    wait_for(lambda: workers().get("run") == ("busy", 0), 30, "one to be busy")
    assert counts(rq_info(redis_url), "run")[:2] == (0, 1)
    job.cancel()
    short = bus.enqueue(spec.model_copy(update={"command": ["true"]}))
    short.wait(timeout=60)
    wait_for(lambda: workers().get("run") == ("idle", 1), 30, "it to be idle again")


def test_its_tidying_loses_no_job_whose_worker_is_gone(
    engineless_bus: Bus, redis_url: str, redis: Any
) -> None:
    """`rq info` itself looks for workers that are gone; usually ours are found first."""
    job = engineless_bus.enqueue(SPEC)
    lapsed, lasting = attempts_on(engineless_bus, lease=0.05), attempts_on(engineless_bus)
    (first,) = take(lapsed)
    wait_for(
        lambda: redis.zcount("rq:wip:cleanup", 0, redis.time()[0] - 1), what="the lease to end"
    )

    assert counts(rq_info(redis_url), "cleanup") == (1, 0, 0, 0)

    assert job.state is JobState.QUEUED
    assert not lapsed.claim(first)
    (second,) = take(lasting)
    assert (second.job, second.number, second.order) == (job.id, 2, first.order)
    assert settle(lasting, second, "succeeded", RESULT)
    assert job.wait(timeout=5).kind == "cleanup"
