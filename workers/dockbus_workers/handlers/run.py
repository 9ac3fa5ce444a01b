"""Run: carry one container to its end, or until it is up, and find it again when another worker had begun."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from dockbus.engine import CommandNotFound, Container
from dockbus.errors import DockbusError
from dockbus.jobs import Run, RunResult
from dockbus.jobs.run import PublishedPort, Usage
from dockbus.tracing import span
from dockbus_workers.context import Detached, JobContext
from dockbus_workers.running.container import Own, clear, make_or_adopt, start, stop_own
from dockbus_workers.running.files import collect
from dockbus_workers.running.follow import follow
from dockbus_workers.running.service import await_up
from dockbus_workers.running.unenforced import not_enforced
from dockbus_workers.running.usage import Meter

__all__ = ["clear", "run"]

_NO_PROGRAM = re.compile(r"\[FATAL tini \(\d+\)\] exec (.*) failed: (.*)")
"""What Docker's init says of a program that it cannot start. To the Engine the container has started by then."""


def run(spec: Run, ctx: JobContext) -> RunResult:
    """Carry out a run job.

    Raises:
        ImageNotFound: the image is not there and may not, or cannot, be pulled.
        EngineConflict: the container's name is taken by one that is not this job's.
        CommandNotFound: the image has no such program.
        ServiceFailed: the service did not come up.
        ContainerLost: somebody removed the container while it ran.
    """
    try:
        result = _carry_out(spec, ctx)
    except Detached:
        raise  # it runs on and is adopted
    except Exception as error:
        if ctx.last_attempt or (isinstance(error, DockbusError) and not error.retryable):
            stop_own(spec, ctx)
            ctx.remains.append(partial(clear, ctx))
        raise
    if spec.mode == "task" and spec.remove:
        only_it = partial(ctx.engine.containers.remove, result.container_id)
        ctx.remains.append(partial(clear, ctx) if spec.secrets else only_it)
    return result


def _carry_out(spec: Run, ctx: JobContext) -> RunResult:
    # Asked for again by an attempt that adopts, so that its log hides them, too.
    secrets = {name: ctx.secret(name) for name in (*spec.env_from.values(), *spec.secrets)}
    with span("create"):
        container = make_or_adopt(spec, secrets, ctx)
    ctx.check()
    carry_out = _up if spec.mode == "service" else _to_its_end
    return carry_out(container, spec, secrets, ctx)


def _to_its_end(
    container: Own, spec: Run, secrets: Mapping[str, str], ctx: JobContext
) -> RunResult:
    seen = ctx.last_stamps() if container.adopted else {}
    with Meter(container.id, spec, ctx.engine) as meter:
        if not container.begun:
            container = start(container, spec, secrets, ctx)
        meter.started(container.id)
        with span("wait"):
            ended = follow(container.id, ctx, seen=seen)
    if spec.init and ended.exit_code in (126, 127):
        _check_program(ended, ctx)
    return _result(ended, spec, ctx, usage=meter.usage).model_copy(
        update={"exit_code": ended.exit_code, "artefacts": collect(ended, spec, ctx)}
    )


@span("wait until up")
def _up(container: Own, spec: Run, secrets: Mapping[str, str], ctx: JobContext) -> RunResult:
    if not container.begun:
        container = start(container, spec, secrets, ctx)
    up = await_up(container.id, spec, ctx)
    return _result(up, spec, ctx).model_copy(
        update={
            "health": up.health or None,
            "ports": [PublishedPort(**vars(port)) for port in up.ports],
        }
    )


def _result(
    container: Container, spec: Run, ctx: JobContext, usage: Usage | None = None
) -> RunResult:
    ignored = not_enforced(spec, ctx.engine.guards)
    if ignored:
        ctx.log(f"this Engine does not enforce: {', '.join(ignored)}")
    return RunResult(
        exit_code=None,
        oom_killed=container.oom_killed,
        duration=_lasted(container),
        container_id=container.id,
        image_id=container.image_id,
        usage=usage,
        not_enforced=ignored,
    )


def _check_program(ended: Container, ctx: JobContext) -> None:
    """Tell a program that was not there from one that ended with the exit code which shells give for that.

    Raises:
        CommandNotFound: it was not there, or could not be carried out.
    """
    for line in ctx.engine.containers.logs(ended.id, tail=1):
        if said := _NO_PROGRAM.fullmatch(line.text):
            raise CommandNotFound(f"{said[1]}: {said[2]}")


def _lasted(container: Container) -> float:
    if not container.started or not container.finished:
        return 0.0
    return max(0.0, (container.finished - container.started).total_seconds())  # two clock readings
