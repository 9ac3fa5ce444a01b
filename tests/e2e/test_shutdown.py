"""Workers that are told to stop, or are killed, at any moment: no job is lost or stuck, and the next one goes on soon.

`make chaos` does many more trials: CHAOS_TRIALS says how many, CHAOS_SEED repeats their choices.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from at_once import at_once
from dockbus import Bus, Cleanup, JobState, RetryPolicy, Run, Settings
from dockbus.engine import Engine
from dockbus.jobs import LABEL_JOB
from dockbus.jobs.running import Network
from dockbus.settings import WorkerSettings
from e2e.chaos.lane import Lane
from waiting import wait_for

TRIALS = int(os.environ.get("CHAOS_TRIALS", "12"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
LANES = 4
"""Trials at the same time."""
KILLS = 1 if TRIALS < 100 else 5
"""Kills in each lane."""
PROMISED = 15.0
"""Seconds from a worker's death to the next attempt at its job, with the default lease."""

pytestmark = pytest.mark.timeout(150 + 5 * TRIALS)
Say = Callable[[str], None]


def test_workers_that_stop_under_a_stream_of_jobs_lose_none(
    bus: Bus, settings: Settings, tmp_path: Path, say: Say
) -> None:
    nothing = Cleanup(dry_run=True, labels={"chaos.nothing": "1"})
    redis: Any = bus.redis
    left: list[int] = []
    accepted: list[str] = []
    lock = threading.Lock()

    def one_lane(number: int) -> None:
        dice = random.Random(f"{SEED} {number}")  # noqa: S311  no secret
        drain = 30.0 if number % 2 else 0.0
        worker = settings.model_copy(update={"worker": WorkerSettings(drain=drain)})
        with closing(Lane("cleanup", f"lane-{number}", worker, tmp_path)) as lane:
            for trial in range(number, TRIALS, LANES):
                current = lane.start()
                instant = time.monotonic() + dice.uniform(0.0, 0.5)
                told = False
                mine: list[str] = []
                while current.process.poll() is None:
                    mine.append(bus.enqueue(nothing, engine=lane.name).id)
                    if not told and time.monotonic() >= instant:
                        current.process.send_signal(signal.SIGTERM)
                        told = True
                    time.sleep(dice.expovariate(60))

                assert current.process.returncode == 0, current.log.read_text()
                waiting = {raw.decode() for raw in redis.lrange(f"rq:queue:{lane.queue}", 0, -1)}
                assert redis.zcard(f"rq:wip:{lane.queue}") == 0, f"stuck after trial {trial}"
                states = {job: bus.job(job).state for job in mine}
                for job, state in states.items():
                    queued = state is JobState.QUEUED and job in waiting
                    assert queued or state is JobState.SUCCEEDED, f"{job} is {state.value}"
                with lock:
                    accepted.extend(mine)
                    left.append(len(waiting))
            if number < TRIALS:  # whatever the last one has left
                lane.start()
                wait_for(lambda: not redis.exists(f"rq:queue:{lane.queue}"), 60, "an empty queue")
                wait_for(lambda: not redis.exists(f"rq:wip:{lane.queue}"), 60, "idle workers")

    at_once(LANES, one_lane)

    finals: dict[str, list[str]] = defaultdict(list)
    failed: dict[str, object] = {}
    for stored in bus.events(since="0", follow=False):
        state = stored.event.type.rpartition(".")[2]
        if state == "scheduled":
            failed[stored.event.subject] = stored.event.data.get("error")
        elif state not in ("queued", "started"):
            finals[stored.event.subject].append(state)
    say(
        f"{TRIALS} x SIGTERM, CHAOS_SEED={SEED}: {len(accepted)} jobs, none lost, none stuck; "
        f"up to {max(left)} were queued when the worker had ended"
    )
    assert {job: finals[job] for job in accepted if finals[job] != ["succeeded"]} == {}
    assert set(finals) == set(accepted)
    # An Engine that fails once, with all that others do to it, is no fault of a stop.
    assert all(str(error).startswith(("engine-", "redis-")) for error in failed.values()), failed
    assert {bus.job(job).refresh().attempts for job in set(accepted) - set(failed)} == {1}


def test_the_job_of_a_killed_worker_goes_on_soon(
    bus: Bus, engine: Engine, settings: Settings, base_image: str, tmp_path: Path, say: Say
) -> None:
    took: list[float] = []
    sleeper = Run(
        image=base_image,
        command=["sh", "-c", "echo begun; sleep 3600"],
        networks=[Network(name="none")],
        labels={"dockbus.test": "1"},
        stop_timeout=0,
    )

    def one_lane(number: int) -> None:
        dice = random.Random(f"{SEED} {number}")  # noqa: S311  no secret
        with closing(Lane("run", f"lane-{number}", settings, tmp_path)) as lane:
            busy = lane.start()
            job = bus.enqueue(sleeper, engine=lane.name, retry=RetryPolicy(max=100))
            wait_for(lambda: list(job.logs()), 30, "the container to run")
            for _ in range(KILLS):
                idle = lane.start()
                time.sleep(dice.uniform(0, 1.5))  # anywhere between two heartbeats
                before = job.refresh().started
                busy.process.send_signal(signal.SIGKILL)
                killed = time.time()
                wait_for(lambda before=before: job.refresh().started != before, 60, "an attempt")  # type: ignore[misc]
                started = job.refresh().started
                assert started is not None
                took.append(started.timestamp() - killed)
                busy = idle
            assert len(engine.containers.all(labels={LABEL_JOB: job.id}, running=True)) == 1
            job.cancel()
            wait_for(lambda: job.state is JobState.CANCELED, 30, "it to be canceled")
            assert [line.text for line in job.logs() if line.stream == "stdout"] == ["begun"]

    at_once(LANES, one_lane)

    say(
        f"{len(took)} x SIGKILL of the busy worker: the next attempt began after {statistics.median(took):.1f} s "
        f"(median), {max(took):.1f} s (longest)"
    )
    assert max(took) <= PROMISED
