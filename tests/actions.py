"""Actions as tests order them, a container to act on, and a worker that dies at a chosen point."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import prepared
from dockbus import Bus, Exec, JobFailed, JobHandle, Settings
from dockbus.engine import Container, ContainerSpec, Engine
from dockbus.jobs import ActionResult, ExecResult, Spec
from e2e.chaos.keeper import WORKER
from processes import Program, environment
from waiting import wait_for

Launch = Callable[..., Program]
STAY = 'trap "exit 7" TERM INT; echo life; sleep 600 & wait'
"""A program that tells each of its lives and goes when it is asked to."""
SLOW = 'trap "echo asked; sleep 3; exit 7" TERM; echo life; sleep 600 & wait'
"""The same, which takes three seconds to go, and says when it was asked to."""


@contextmanager
def target(
    engine: Engine, script: str = STAY, *, start: bool = True, **fields: Any
) -> Generator[Container]:
    """A container that nobody's job has made."""
    given: dict[str, Any] = {
        "name": f"act-test-{secrets.token_hex(4)}",
        "image": "dockbus/base:1",
        "command": ["sh", "-c", script],
        "networks": "none",
        "init": False,
        **fields,
        "labels": {"dockbus.test": "1", **fields.get("labels", {})},
    }
    spec = ContainerSpec.model_validate(given)
    made = engine.containers.create(spec)
    try:
        if start:
            engine.containers.start(made)
            if "echo life" in script:
                wait_for(lambda: lives(engine, made), what="its first life")
        yield engine.containers.get(made)
    finally:
        engine.containers.remove(made, force=True)


def lives(engine: Engine, container: str) -> int:
    """How often its program has begun."""
    return sum(line.text == "life" for line in engine.containers.logs(container, tail=100))


def is_asked(engine: Engine, container: str) -> bool:
    """Whether it was asked to go, and said so."""
    return any(line.text == "asked" for line in engine.containers.logs(container, tail=100))


def has_lives(engine: Engine, container: str, number: int) -> bool:
    """Whether its program has begun so often, once it has told of the last of them: the Engine says sooner that it runs."""
    wait_for(lambda: lives(engine, container) >= number, what=f"life {number}")
    return lives(engine, container) == number


def done(bus: Bus, spec: Spec, **terms: Any) -> ActionResult:
    result = bus.enqueue(spec, **terms).wait(timeout=60)
    assert isinstance(result, ActionResult)
    return result


def failure(job: JobHandle) -> str:
    """The error of a job that fails at its first attempt."""
    with pytest.raises(JobFailed):
        job.wait(timeout=60)
    record = job.refresh()
    assert record.error is not None
    assert record.attempts == 1, record.error
    return f"{record.error.code}: {record.error}"


def said(job: JobHandle, stream: str = "system") -> str:
    return "\n".join(line.text for line in job.logs() if line.stream == stream)


def run_command(
    bus: Bus, container: Container, script: str, **fields: Any
) -> tuple[JobHandle, ExecResult]:
    job = bus.enqueue(Exec(container=container.name, command=["sh", "-c", script], **fields))
    result = job.wait(timeout=60)
    assert isinstance(result, ExecResult)
    return job, result


@contextmanager
def doomed(settings: Settings, folder: Path, die: str) -> Generator[prepared.Process]:
    """A worker that kills itself at that point of a job's life."""
    env = environment(settings) | {
        "CHAOS_DIE": die,
        "CHAOS_DIARY": str(folder / "diary"),
        "CHAOS_CALM": str(folder / "calm"),
    }
    with (folder / "doomed.log").open("wb") as log:
        process = prepared.Process(["container"], env, log.fileno(), WORKER)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
