"""Pull jobs, carried out for real: Engine, registry words."""

from __future__ import annotations

from collections.abc import Callable

from dockbus import Bus, JobState, Pull, Settings
from dockbus.engine import Engine
from processes import Program
from waiting import wait_for

Start = Callable[..., Program]


def worker(start: Start, kind: str, **options: Settings) -> Program:
    program = start("worker", kind, **options)
    program.wait_until_said("taking jobs")
    return program


def test_a_pull_from_a_registry_that_does_not_answer_is_tried_again_later(
    start: Start, bus: Bus, engine: Engine
) -> None:
    worker(start, "pull")
    job = bus.enqueue(Pull(image="127.0.0.1:9/dockbus/none:1"))

    failure = wait_for(lambda: job.refresh().error, 60, "the first attempt to fail")

    assert failure.code == "registry-unavailable"
    assert "connection refused" in failure.detail
    wait_for(lambda: job.refresh().attempts >= 2, 60, "a second attempt")
    job.cancel()
    wait_for(lambda: job.state is JobState.CANCELED, what="the job to be canceled")
