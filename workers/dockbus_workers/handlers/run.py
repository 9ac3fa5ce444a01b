"""Run: carry one container to its end, and find it again when another worker had begun.

The container's name comes from the job's ID, so a second attempt meets the first one's container and
adopts it: it reads the log on from the last line that is known and waits for the same end.
"""

from __future__ import annotations

import sys
from functools import partial

from dockbus.engine import (
    Container,
    ContainerSpec,
    EngineConflict,
    EngineFault,
    EngineTimeout,
    ImageNotFound,
)
from dockbus.engine.views import parse_time
from dockbus.errors import DockbusError
from dockbus.joblog import Stream
from dockbus.jobs import (
    LABEL_BUS,
    LABEL_JOB,
    LABEL_MANAGED,
    LABEL_ORDER,
    LABEL_REMOVE,
    Run,
    RunResult,
)
from dockbus_workers.context import Detached, JobContext
from dockbus_workers.handlers.pull import fetch

STRAY = 10
"""Seconds by which a line may be out of order. The Engine reads stdout and stderr in two threads, each of which
stamps a line before it writes it down: only the lines of one stream come in the order of their stamps."""


def run(spec: Run, ctx: JobContext) -> RunResult:
    """Carry out a run job.

    Raises:
        ImageNotFound: the image is not there and may not, or cannot, be pulled.
        EngineConflict: the container's name is taken by one that is not this job's.
    """
    container, adopted = _make_or_adopt(spec, ctx)
    try:
        ctx.check()
        if container.state == "created":
            ctx.hold()
            container = _start(container, spec, ctx)
        _follow(container.id, ctx, seen=ctx.last_stamps() if adopted else {})
        ended = ctx.engine.containers.get(container.id)
    except Detached:
        raise  # it runs on and is adopted
    except Exception as error:
        if ctx.last_attempt or (isinstance(error, DockbusError) and not error.retryable):
            ctx.hold()
            ctx.engine.containers.stop(container.id, timeout=spec.stop_timeout)
            ctx.remains.append(partial(clear, ctx))
        raise
    if spec.remove:
        ctx.remains.append(partial(clear, ctx))
    return RunResult(
        exit_code=ended.exit_code,
        oom_killed=ended.oom_killed,
        duration=max(0.0, (ended.finished - ended.started).total_seconds())  # two clock readings
        if ended.started and ended.finished
        else 0.0,
        container_id=ended.id,
        image_id=ended.image_id,
    )


def clear(ctx: JobContext) -> None:
    """Remove the stopped container of a job, where it is still there."""
    there = ctx.engine.containers.find(_name(ctx))
    if there and there.labels.get(LABEL_ORDER) == ctx.seal:
        ctx.engine.containers.remove(there.id)


def _name(ctx: JobContext) -> str:
    return f"dockbus-{ctx.job}"


def _make_or_adopt(spec: Run, ctx: JobContext) -> tuple[Container, bool]:
    """This job's container, and whether an earlier attempt had made it."""
    name = _name(ctx)
    if there := ctx.engine.containers.find(name):
        return _adopt(there, ctx), True
    ctx.check()
    _ensure_image(spec, ctx)
    ctx.hold(here=True)
    wanted = ContainerSpec(
        name=name,
        image=spec.image,
        command=spec.command,
        entrypoint=spec.entrypoint,
        env=spec.env,
        working_dir=spec.working_dir,
        user=spec.user,
        network=spec.network,
        memory=spec.memory,
        cpus=spec.cpus,
        pids=spec.pids,
        labels={
            **spec.labels,
            LABEL_MANAGED: "true",
            LABEL_BUS: ctx.bus_name,
            LABEL_JOB: ctx.job,
            LABEL_ORDER: ctx.seal,
            LABEL_REMOVE: str(spec.remove).lower(),
        },
    )
    try:
        return ctx.engine.containers.get(ctx.engine.containers.create(wanted)), False
    except EngineConflict:  # made between the look and the call
        return _adopt(ctx.engine.containers.get(name), ctx), True


def _adopt(container: Container, ctx: JobContext) -> Container:
    """The container of an earlier attempt, if it is one.

    Raises:
        EngineConflict: it is somebody else's.
    """
    if (container.labels.get(LABEL_JOB), container.labels.get(LABEL_ORDER)) != (ctx.job, ctx.seal):
        raise EngineConflict(
            f"a container named {container.name} is there and was not made by this job; remove it"
        )
    ctx.log(f"adopting container {container.id[:12]} ({container.state}) of an earlier attempt")
    return container


def _start(container: Container, spec: Run, ctx: JobContext) -> Container:
    """Start a container that never was; returns it, or the one that had to be made in its place."""
    try:
        ctx.engine.containers.start(container.id)
    except EngineFault as error:
        # What is left of an Engine that was killed while it got the container's process ready: nothing of the
        # container has run, and nothing ever can.
        if f"task {container.id}: already exists" not in error.detail:
            raise
        ctx.log(
            f"container {container.id[:12]} cannot be started after the Engine's end; made anew"
        )
        ctx.engine.containers.remove(container.id)
        container, _ = _make_or_adopt(spec, ctx)
        ctx.hold()
        ctx.engine.containers.start(container.id)
    return container


def _ensure_image(spec: Run, ctx: JobContext) -> None:
    present = ctx.engine.images.find(spec.image) is not None
    if spec.pull == "never" and not present:
        raise ImageNotFound(f"{spec.image} is not on this Engine and the job says never to pull")
    if spec.pull == "always" or not present:
        fetch(spec.image, None, ctx)


def _follow(container: str, ctx: JobContext, *, seen: dict[Stream, str]) -> None:
    """Log the container's output, after the lines stamped as in `seen`, until it has stopped."""
    told = dict.fromkeys(seen, sys.maxsize)  # characters of that line; a long one comes in pieces
    ended = False
    while True:
        since = parse_time(max(seen.values(), default=""))
        start = partial(
            ctx.engine.containers.logs,
            container,
            since=str(int(since.timestamp() - STRAY)) if since else "",
        )
        known, skip = dict(seen), dict(told)
        try:
            for line in ctx.pump(start):
                text, last = line.text, known.get(line.stream, "")
                if line.stamp == last:
                    over = skip[line.stream]
                    text, skip[line.stream] = text[over:], max(0, over - len(text))
                if line.stamp > last or (line.stamp == last and text):
                    more = line.stamp == seen.get(line.stream)
                    told[line.stream] = len(text) + (told[line.stream] if more else 0)
                    seen[line.stream] = line.stamp
                    ctx.log(text, line.stream, line.stamp)
        except EngineTimeout:
            pass  # it has been silent; a connection that had died would look the same, so connect again
        if ended:
            return
        # Read once more after its end: the Engine may close a stream before an unfinished last line.
        ended = ctx.engine.containers.get(container).is_stopped
        if not ended:
            ctx.sleep(0.1)
