"""Commands in containers of a real Engine: output, exit codes, and that each is begun once at most."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from actions import Launch, doomed, failure, run_command, said, target
from commandline import CommandLine
from dockbus import (
    Bus,
    Exec,
    JobCanceled,
    JobFailed,
    Settings,
)
from dockbus.engine import Container, Engine
from dockbus.jobs import ExecResult
from dockbus.settings import SecretsSettings, WorkerSettings
from processes import Program, environment
from waiting import wait_for


@pytest.fixture
def worker(start: Launch, base_image: str) -> Program:
    program = start("worker", "container")
    program.wait_until_said("taking jobs")
    return program


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(update={"worker": WorkerSettings(heartbeat=3)})


@pytest.mark.usefixtures("worker")
def test_a_command_has_its_output_told_apart_and_its_exit_code_is_the_result(
    bus: Bus, engine: Engine
) -> None:
    with target(engine) as made:
        job, result = run_command(bus, made, "echo one; echo two >&2; printf 'three'; exit 3")

        assert (result.done, result.exit_code, result.container_id) == (True, 3, made.id)
        assert (said(job, "stdout"), said(job, "stderr")) == ("one\nthree", "two")
        assert engine.containers.get(made.id).started == made.started


@pytest.mark.usefixtures("base_image")
def test_a_command_gets_user_folder_variables_and_secrets_which_its_log_hides(
    bus: Bus, engine: Engine, start: Launch, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "shop-password").write_text("correct horse")
    given = settings.model_copy(update={"secrets": SecretsSettings(dir=str(tmp_path))})
    start("worker", "container", settings=given)
    with target(engine, cap_add=[], user="0") as made:
        job, _ = run_command(
            bus,
            made,
            'echo "$(id -u) $(pwd) $GREETING $PASSWORD ${#PASSWORD}"',
            user="65534",
            working_dir="/bin",
            env={"GREETING": "a=b c"},
            env_from={"PASSWORD": "shop-password"},
        )

        assert said(job, "stdout") == "65534 /bin a=b c *** 13"


@pytest.mark.usefixtures("worker")
def test_output_that_is_no_text_or_large_is_read_without_filling_the_worker(
    bus: Bus, engine: Engine, worker: Program
) -> None:
    script = (
        "printf '\\377\\376 caf\\303\\251\\n'; head -c 1048576 /dev/zero | tr '\\0' A; echo;"
        " yes $(head -c 99 /dev/zero | tr '\\0' x) | head -n 200000; printf end"
    )
    with target(engine) as made:
        job, result = run_command(bus, made, script)

        assert result.exit_code == 0
        assert said(job, "stdout").endswith("x\nend")
        assert _peak(worker) < 150 * 2**20
        job, _ = run_command(bus, made, "printf '\\377\\376 caf\\303\\251\\n'")
        assert said(job, "stdout") == "�� café"


def _peak(program: Program) -> int:
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"command": ["no-such-program"]}, "command-not-found"),
        ({"command": ["/etc/passwd"]}, "command-not-found"),
        ({"command": ["true"], "user": "nobody-here"}, "command-refused"),
        ({"command": ["true"], "working_dir": "/no/such"}, "command-refused"),
    ],
)
def test_a_command_that_cannot_be_begun_fails_the_job(
    bus: Bus, engine: Engine, fields: dict[str, Any], code: str
) -> None:
    with target(engine) as made:
        job = bus.enqueue(Exec(container=made.name, **fields))

        assert failure(job).startswith(f"{code}: ")


@pytest.mark.usefixtures("worker")
def test_an_exit_code_that_shells_give_for_a_missing_program_is_a_result(
    bus: Bus, engine: Engine
) -> None:
    with target(engine) as made:
        assert run_command(bus, made, "no-such-program")[1].exit_code == 127
        assert run_command(bus, made, "exit 126")[1].exit_code == 126


@pytest.mark.usefixtures("worker")
def test_a_command_needs_a_container_that_runs(bus: Bus, engine: Engine) -> None:
    with target(engine, "true", start=False) as made:
        job = bus.enqueue(Exec(container=made.name, command=["true"]))

        assert failure(job).startswith("container-not-running: ")


@pytest.mark.usefixtures("worker")
def test_a_command_whose_condition_does_not_hold_is_not_run(bus: Bus, engine: Engine) -> None:
    with target(engine) as made:
        _, result = run_command(bus, made, "touch /tmp/run", only_if="container.restart_count > 5")
        again, _ = run_command(bus, made, "ls /tmp")

        assert (result.done, result.reason, result.exit_code) == (False, "condition", None)
        assert said(again, "stdout") == ""


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    "script", ["sleep 601", "trap '' TERM; while :; do sleep 602; done", "sleep 603 & sleep 603"]
)
def test_a_canceled_command_is_stopped_with_all_that_it_has_started(
    bus: Bus, engine: Engine, script: str
) -> None:
    with target(engine) as made:
        job = bus.enqueue(Exec(container=made.name, command=["sh", "-c", script]))
        wait_for(lambda: _runs(engine, made, "sleep 60[1-9]"), what="it to run")

        job.cancel()
        with pytest.raises(JobCanceled):
            job.wait(timeout=60)

        assert "the command was stopped" in said(job)
        assert not _runs(engine, made, "sleep 60[1-9]")
        assert engine.containers.get(made.id).started == made.started


@pytest.mark.usefixtures("worker")
def test_a_command_out_of_time_is_stopped_and_the_job_fails(bus: Bus, engine: Engine) -> None:
    with target(engine) as made:
        job = bus.enqueue(Exec(container=made.name, command=["sleep", "604"]), timeout=1)

        assert failure(job).startswith("job-timeout: ")
        assert not _runs(engine, made, "sleep 604")


@pytest.mark.usefixtures("worker")
def test_a_command_that_cannot_be_stopped_is_said_to_run_on(bus: Bus, engine: Engine) -> None:
    with target(engine) as made:
        # It has forgotten the mark in its environment.
        job = bus.enqueue(Exec(container=made.name, command=["env", "-i", "/bin/sleep", "605"]))
        wait_for(lambda: _runs(engine, made, "sleep 605"), what="it to run")

        job.cancel()
        with pytest.raises(JobCanceled):
            job.wait(timeout=60)

        assert "it runs on" in said(job)
        assert _runs(engine, made, "sleep 605")


def _runs(engine: Engine, container: Container, pattern: str) -> bool:
    """Whether a program runs in the container, as the container itself sees it."""
    look = engine.execs.create(container.id, ["sh", "-c", f"ps | grep -q '{pattern}$'"])
    for _ in engine.execs.start(look):
        pass
    return engine.execs.get(look).exit_code == 0


@pytest.mark.usefixtures("base_image")
@pytest.mark.parametrize(
    "die", ["claim:before:1", "claim:after:1", "log:after:1", "handle:after:1"]
)
def test_a_command_is_run_once_wherever_its_worker_dies(
    bus: Bus, engine: Engine, start: Launch, quick: Settings, tmp_path: Path, die: str
) -> None:
    with target(engine) as made, doomed(quick, tmp_path, die) as process:
        script = "echo run >> /tmp/runs; echo begun; sleep 2; exit 4"
        job = bus.enqueue(Exec(container=made.name, command=["sh", "-c", script]))
        assert process.wait(timeout=60) == -signal.SIGKILL
        start("worker", "container", settings=quick)
        result = job.wait(timeout=60)

        assert isinstance(result, ExecResult)
        assert (result.done, result.exit_code) == (True, 4)
        assert job.refresh().attempts == 2
        seen, _ = run_command(bus, made, "cat /tmp/runs")
        assert said(seen, "stdout") == "run"


@pytest.mark.usefixtures("base_image")
def test_a_command_whose_end_nobody_saw_is_not_run_again(
    bus: Bus, engine: Engine, start: Launch, quick: Settings
) -> None:
    first = start("worker", "container", settings=quick)
    with target(engine) as made:
        script = "echo run >> /tmp/runs; echo begun; sleep 600"
        job = bus.enqueue(Exec(container=made.name, command=["sh", "-c", script]))
        wait_for(lambda: said(job, "stdout") == "begun", what="it to begin")
        first.process.kill()
        engine.containers.stop(made.id, timeout=1)
        engine.containers.start(made.id)
        start("worker", "container", settings=quick)

        try:
            ended = job.wait(timeout=60)
        except JobFailed:
            error = job.refresh().error
            assert error is not None
            assert error.code == "command-lost"
        else:  # the Engine still knew it
            assert isinstance(ended, ExecResult)
            assert ended.exit_code == 137
        seen, _ = run_command(bus, made, "cat /tmp/runs")
        assert said(seen, "stdout") == "run"


@pytest.mark.usefixtures("worker")
def test_the_command_line_tells_what_was_done_and_exits_with_the_commands_exit_code(
    engine: Engine, settings: Settings
) -> None:
    dockbus = CommandLine()
    dockbus.env |= environment(settings)
    with target(engine) as made:
        ran = dockbus("exec", made.name, "--", "sh", "-c", "echo out; echo err >&2; exit 5")
        again = dockbus("start", made.name)
        restarted = dockbus(
            "restart", made.name, "--only-if", "container.started + duration('1ms') < now"
        )
        removed = dockbus("remove", made.name, "--force", "--volumes", "--json")

    assert (ran.returncode, ran.stdout) == (5, "out\n")
    assert "err\n" in ran.stderr
    assert "exit code 5 after" in ran.stderr
    assert (again.returncode, restarted.returncode) == (0, 0)
    assert "nothing done: the container runs already" in again.stderr
    assert f"container {made.id[:12]} is running" in restarted.stderr
    assert json.loads(removed.stdout)["result"]["done"]
    assert engine.containers.find(made.id) is None
