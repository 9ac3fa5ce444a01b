"""Run jobs as tests order them: a shell script in the base image, marked as a test's."""

from __future__ import annotations

from typing import Any

import pytest

from dockbus import Bus, JobFailed, JobHandle, Run, RunResult
from dockbus.engine import Engine
from dockbus.jobs import LABEL_JOB


def shell(script: str, **fields: Any) -> Run:
    """A run job with this script, without a network unless the fields say otherwise."""
    return Run.model_validate(
        {
            "image": "dockbus/base:1",
            "command": ["sh", "-c", script],
            "labels": {"dockbus.test": "1"},
            "networks": ["none"],
            **fields,
        }
    )


def service(script: str, **fields: Any) -> Run:
    """The same as a service."""
    return shell(script, mode="service", stop_timeout=0, **fields)


def result(job: JobHandle) -> RunResult:
    """What has come of a job, once it has ended."""
    ended = job.wait(timeout=60)
    assert isinstance(ended, RunResult)
    return ended


def failure(job: JobHandle) -> str:
    """The error of a job that fails at its first attempt: its code and its words."""
    with pytest.raises(JobFailed):
        job.wait(timeout=60)
    record = job.refresh()
    assert record.error is not None
    assert record.attempts == 1, f"a mistake is not tried again: {record.error}"
    return f"{record.error.code}: {record.error}"


def refused(bus: Bus, **fields: Any) -> str:
    """The error of a job that cannot be carried out so."""
    return failure(bus.enqueue(shell("true", **fields)))


def output(job: JobHandle, stream: str = "stdout") -> list[str]:
    """What it has printed until now."""
    return [line.text for line in job.logs() if line.stream == stream]


def no_container(engine: Engine, job: JobHandle) -> bool:
    """Whether nothing of a job is on the Engine."""
    volumes = engine.api.volumes(filters={"label": f"{LABEL_JOB}={job.id}"})["Volumes"]
    return not engine.containers.all(labels={LABEL_JOB: job.id}) and not volumes
