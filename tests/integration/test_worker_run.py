"""Run jobs on a real Engine: logs, exit codes, limits, ends of every sort, and nothing left behind."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from containers import container
from dockbus import Bus, JobCanceled, JobFailed, JobHandle, JobState, Run, RunResult, Settings
from dockbus.engine import Engine
from dockbus.jobs import LABEL_JOB
from dockbus.settings import EngineSettings, WorkerSettings
from dockbus_workers.running import usage
from processes import Program
from waiting import wait_for

Start = Callable[..., Program]


def shell(script: str, **fields: object) -> Run:
    return Run.model_validate(
        {
            "image": "dockbus/base:1",
            "command": ["sh", "-c", script],
            "labels": {"dockbus.test": "1"},
            **fields,
        }
    )


def result(job: JobHandle) -> RunResult:
    ended = job.wait(timeout=60)
    assert isinstance(ended, RunResult)
    return ended


def no_container(engine: Engine, job: JobHandle) -> bool:
    return not engine.containers.all(labels={LABEL_JOB: job.id})


@pytest.fixture(autouse=True)
def worker(start: Start, base_image: str, bus: Bus) -> Program:
    program = start("worker", "run")
    program.wait_until_said("taking jobs")
    return program


def test_output_comes_apart_and_in_order_and_the_exit_code_is_the_result(
    bus: Bus, engine: Engine
) -> None:
    job = bus.enqueue(shell("echo one; sleep 0.3; echo two >&2; sleep 0.3; echo three; exit 7"))

    lines = [(line.stream, line.text) for line in job.logs(follow=True) if line.stream != "system"]
    ended = result(job)

    assert lines == [("stdout", "one"), ("stderr", "two"), ("stdout", "three")]
    assert ended.exit_code == 7
    assert 0.5 < ended.duration < 60
    assert job.state is JobState.SUCCEEDED
    assert no_container(engine, job)


def test_logs_are_there_while_the_container_still_runs(bus: Bus) -> None:
    job = bus.enqueue(shell("echo early; sleep 600"))

    first = next(line for line in job.logs(follow=True) if line.stream == "stdout")

    assert first.text == "early"
    assert job.state is JobState.STARTED
    job.cancel()
    with pytest.raises(JobCanceled):
        job.wait(timeout=60)


def test_the_limits_reach_the_engine(bus: Bus, engine: Engine) -> None:
    job = bus.enqueue(
        shell("sleep 600", memory="64m", cpus=0.5, pids=50, networks=["none"], stop_timeout=0)
    )
    container = wait_for(
        lambda: engine.containers.find(f"dockbus-{job.id}"), what="the job's container"
    )

    host = engine.containers.inspect(container.id)["HostConfig"]

    assert (host["Memory"], host["MemorySwap"]) == (64 * 2**20, 64 * 2**20)
    assert (host["NanoCpus"], host["PidsLimit"], host["NetworkMode"]) == (500_000_000, 50, "none")
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert not host["Privileged"]
    job.cancel()
    with pytest.raises(JobCanceled):
        job.wait(timeout=60)
    assert no_container(engine, job)


def test_environment_user_and_folder_reach_the_program(bus: Bus) -> None:
    job = bus.enqueue(
        shell(
            'echo "$GREETING $(id -u) $(pwd)"',
            env={"GREETING": "a=b c"},
            user="65534",
            working_dir="/bin",
        )
    )

    assert [line.text for line in job.logs(follow=True) if line.stream == "stdout"] == [
        "a=b c 65534 /bin"
    ]


def test_running_out_of_memory_is_told(bus: Bus) -> None:
    # The Engine begins to watch a container's memory a moment after its start.
    ended = result(bus.enqueue(shell("sleep 1; exec tail /dev/zero", memory="16m")))

    assert ended.exit_code == 137
    assert ended.oom_killed


def test_cancel_stops_the_container_and_removes_it(bus: Bus, engine: Engine) -> None:
    job = bus.enqueue(shell("sleep 600"))
    wait_for(
        lambda: engine.containers.all(labels={LABEL_JOB: job.id}, running=True), what="it to run"
    )

    job.cancel()

    with pytest.raises(JobCanceled):
        job.wait(timeout=60)
    assert job.state is JobState.CANCELED
    assert no_container(engine, job)


def test_a_job_out_of_time_is_stopped_and_fails_without_another_attempt(
    bus: Bus, engine: Engine
) -> None:
    job = bus.enqueue(shell("sleep 600"), timeout=1)

    with pytest.raises(JobFailed, match="longer than its timeout"):
        job.wait(timeout=60)
    record = job.refresh()
    assert record.error is not None
    assert (record.error.code, record.attempts) == ("job-timeout", 1)
    assert no_container(engine, job)


def test_an_image_that_is_nowhere_fails_with_advice(bus: Bus) -> None:
    job = bus.enqueue(Run(image="dockbus/no-such-image:1", pull="never"))

    with pytest.raises(JobFailed, match="never to pull"):
        job.wait(timeout=60)
    record = job.refresh()
    assert record.error is not None
    assert record.error.code == "image-not-found"
    assert "spelling" in record.error.advice


def test_a_stopped_container_stays_where_the_job_says_so(bus: Bus, engine: Engine) -> None:
    ended = result(bus.enqueue(shell("true", remove=False)))

    assert engine.containers.get(ended.container_id).state == "exited"
    engine.containers.remove(ended.container_id)


def test_a_killed_worker_loses_nothing_its_container_is_adopted(
    bus: Bus, engine: Engine, start: Start, settings: Settings, worker: Program
) -> None:
    quick = settings.model_copy(update={"worker": WorkerSettings(heartbeat=3)})
    first = start("worker", "run", settings=quick)
    worker.stop()
    first.wait_until_said("taking jobs")
    job = bus.enqueue(shell("for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 1; done; exit 5"))
    wait_for(lambda: len(list(job.logs())) >= 2, what="two lines")
    container = engine.containers.get(f"dockbus-{job.id}").id
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()

    start("worker", "run", settings=quick).wait_until_said("taking jobs")
    ended = job.wait(timeout=60)

    assert isinstance(ended, RunResult)
    assert (ended.exit_code, ended.container_id) == (5, container)
    said = [line.text for line in job.logs() if line.stream == "stdout"]
    assert said == [f"line {i}" for i in range(1, 9)]
    assert job.refresh().attempts >= 2
    assert no_container(engine, job)


def test_a_worker_told_to_stop_hands_its_job_to_the_next(
    bus: Bus, engine: Engine, start: Start, settings: Settings, worker: Program
) -> None:
    hasty = settings.model_copy(update={"worker": WorkerSettings(drain=0)})
    worker.stop()
    first = start("worker", "run", settings=hasty)
    first.wait_until_said("taking jobs")
    job = bus.enqueue(shell("echo begun; sleep 4; echo done"))
    wait_for(lambda: list(job.logs()), what="the first line")

    assert first.stop() == 0
    assert job.state is JobState.QUEUED
    assert engine.containers.get(f"dockbus-{job.id}").state == "running"
    start("worker", "run")

    assert result(job).exit_code == 0
    assert [line.text for line in job.logs() if line.stream == "stdout"] == ["begun", "done"]


def test_jobs_run_side_by_side(bus: Bus, engine: Engine) -> None:
    jobs = [bus.enqueue(shell("sleep 600", stop_timeout=0)) for _ in range(3)]

    for job in jobs:
        labels = {LABEL_JOB: job.id}
        wait_for(
            lambda labels=labels: engine.containers.all(labels=labels, running=True),  # type: ignore[misc]
            what="it to run",
        )
    queue = next(queue for queue in bus.queues() if queue.name == "run")

    assert (queue.started, queue.queued, queue.workers) == (3, 0, 1)
    for job in jobs:
        job.cancel()
    for job in jobs:
        with pytest.raises(JobCanceled):
            job.wait(timeout=60)
        assert no_container(engine, job)


def test_a_job_for_this_engine_by_name_runs_here(bus: Bus) -> None:
    job = bus.enqueue(shell("true"), engine="local")

    assert job.refresh().queue == "run@local"
    assert result(job).exit_code == 0


def test_without_an_engine_jobs_wait_and_nothing_fails(
    bus: Bus, start: Start, settings: Settings, worker: Program
) -> None:
    worker.stop()
    lost = settings.model_copy(
        update={"engine": EngineSettings(host="unix:///nowhere/docker.sock")}
    )
    lonely = start("worker", "run", settings=lost)
    lonely.wait_until_said("Jobs wait in their queue")
    job = bus.enqueue(shell("true"))

    assert "DOCKBUS_ENGINE_HOST" in lonely.log.read_text()
    assert job.state is JobState.QUEUED
    assert lonely.stop() == 0
    start("worker", "run")
    assert result(job).exit_code == 0


# -- what it has used -------------------------------------------------------------------------


def test_what_a_container_has_used_is_told(bus: Bus, engine: Engine) -> None:
    script = (
        "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done;"
        " head -c 30000000 /dev/zero > /dev/shm/x; ping -c 3 -i 0.2 $(ip route | awk '{print $3; exit}');"
        " sleep 0.5"
    )
    fields = {"networks": ["dockbus"], "cap_add": ["NET_RAW"], "shm_size": "64m"}

    used = result(bus.enqueue(shell(script, **fields))).usage

    assert used is not None
    assert used.source in ("cgroup", "engine")
    if used.source == "cgroup":
        assert 0.05 < (used.cpu_seconds or 0) < 60
        assert 25_000_000 < (used.memory_peak or 0) < 2**30
        assert (used.tx_bytes or 0) >= 3 * 64
        assert (used.rx_bytes or 0) >= 3 * 64


def test_a_container_that_ends_at_once_is_measured_too(bus: Bus) -> None:
    used = result(bus.enqueue(shell("true", networks=["none"]))).usage

    assert used is not None
    if used.source == "cgroup":
        assert (used.cpu_seconds or 0) > 0
        assert (used.memory_peak or 0) > 0
    else:
        assert used.source in ("engine", "none")


def test_a_meter_keeps_no_file_open(engine: Engine) -> None:
    with container(engine, "sleep 60") as made:
        with usage.Meter(made, shell("sleep 60"), engine) as meter:
            meter.started(made)
            measured = meter.usage.source == "cgroup"
            assert bool(_open_files(made)) == measured

        assert not _open_files(made)


def _open_files(name: str) -> list[str]:
    """The files that this process has open whose paths have this name in them."""
    found: list[str] = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # one of them is that of this very look
            found.append(str(entry.readlink()))
    return [path for path in found if name in path]


def test_where_control_groups_are_not_seen_the_engine_is_asked(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unseen(*_: object) -> None:
        """As from within a container."""

    monkeypatch.setattr("dockbus_workers.cgroups.find", unseen)
    script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 60"
    with container(engine, script) as made:
        with usage.Meter(made, shell(script), engine) as meter:
            meter.started(made)
            wait_for(lambda: meter.usage.source == "engine", what="a sample")
        used = meter.usage

    assert (used.cpu_seconds or 0) > 0
    assert (used.memory_peak or 0) > 0
