"""Run jobs where something is wrong from the outside: people, programs and networks that do what nobody expects."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from dockbus import Bus
from dockbus.engine import Engine
from processes import Program
from runs import failure, no_container, output, refused, result, shell
from waiting import wait_for

Start = Callable[..., Program]


@pytest.fixture(autouse=True)
def worker(start: Start, base_image: str) -> Program:
    program = start("worker", "run")
    program.wait_until_said("taking jobs")
    return program


# -- programs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"command": ["no-such-program"]},
        {"command": ["no-such-program"], "init": False},
        {"entrypoint": ["/no/such"], "command": []},
        {"command": ["/etc/passwd"]},
        {"command": ["/root"], "init": False},
    ],
)
def test_a_program_that_is_not_there_fails_the_job(
    bus: Bus, engine: Engine, fields: dict[str, object]
) -> None:
    job = bus.enqueue(shell("", **fields))

    assert failure(job).startswith("command-not-found: ")
    assert no_container(engine, job)


def test_an_exit_code_that_shells_give_for_a_missing_program_is_a_result(bus: Bus) -> None:
    assert result(bus.enqueue(shell("no-such-program"))).exit_code == 127
    assert result(bus.enqueue(shell("exit 126"))).exit_code == 126


# -- people -----------------------------------------------------------------------------------


def test_a_container_that_somebody_removes_while_it_runs_fails_the_job(
    bus: Bus, engine: Engine
) -> None:
    job = bus.enqueue(shell("echo begun; sleep 600"))
    wait_for(lambda: output(job), what="it to run")

    engine.containers.remove(f"dockbus-{job.id}", force=True)

    assert failure(job).startswith("container-lost: ")
    assert output(job) == ["begun"]


def test_a_name_that_a_stranger_has_fails_the_job_and_leaves_the_stranger(
    bus: Bus, engine: Engine
) -> None:
    name = f"run-test-{secrets.token_hex(4)}"
    stranger = engine.containers.create(shell("true", name=name))
    try:
        assert f"a container named {name} is there" in refused(bus, name=name)
        assert engine.containers.get(name).id == stranger
    finally:
        engine.containers.remove(stranger)


# -- output -----------------------------------------------------------------------------------


def test_sixty_megabytes_of_output_are_read_without_filling_the_worker(
    bus: Bus, worker: Program
) -> None:
    # 600,000 lines of 100 bytes; the log keeps the newest.
    script = "yes $(head -c 99 /dev/zero | tr '\\0' x) | head -n 600000; echo end"

    job = bus.enqueue(shell(script))
    ended = job.wait(timeout=110)

    assert ended
    assert output(job)[-1] == "end"
    assert _peak(worker) < 150 * 2**20


def test_output_that_is_no_text_and_lines_without_an_end(bus: Bus, worker: Program) -> None:
    script = (
        "printf '\\377\\376 caf\\303\\251\\n'; head -c 1048576 /dev/zero | tr '\\0' A; echo;"
        " head -c 3000000 /dev/zero | tr '\\0' B; printf end"
    )

    job = bus.enqueue(shell(script))
    assert result(job).exit_code == 0

    lines = output(job)
    assert lines[0] == "�� café"
    assert sum(line.count("A") for line in lines) == 2**20
    assert "".join(lines).endswith("Bend")
    assert _peak(worker) < 150 * 2**20


def _peak(program: Program) -> int:
    """The most memory that a program has had, in bytes."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])
