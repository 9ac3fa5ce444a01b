"""Restart, stop, start, remove, exec: act on one container, once, if the job's conditions hold right before.

An attempt notes how the container is before it acts, and one that comes after a worker's death compares: a container
that was started since then was restarted already, one that has stopped was stopped. A command is made before it is
started, and the Engine starts each once at most: a further attempt finds it by its noted ID and waits for its end, but
what it writes meanwhile is lost. What an Engine has begun it sees through, whatever becomes of the job.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeVar

from dockbus.engine import Container
from dockbus.errors import JobCanceled, JobTimeout, WorkerLost
from dockbus.jobs import (
    Action,
    ActionResult,
    Ending,
    Exec,
    ExecResult,
    NotDone,
    Remove,
    RemoveResult,
    Restart,
    RestartResult,
    Start,
    StartResult,
    Stop,
    StopResult,
)
from dockbus_workers.acting import command
from dockbus_workers.acting.errors import ContainerNotRunning
from dockbus_workers.acting.notes import Note, keep, recall
from dockbus_workers.acting.target import look, must_see, why_not
from dockbus_workers.context import JobContext

R = TypeVar("R", bound=ActionResult)
_LONGEST_GRACE = 24 * 3600
"""Seconds that a container gets which was made to be waited for without end."""


def restart(spec: Restart, ctx: JobContext) -> RestartResult:
    """Carry out a restart job.

    Raises:
        ContainerNotFound: the container is gone.
        PolicyRefused: the job may not act on it.
        EngineError: it cannot be started.
    """
    ctx.check()
    seen = must_see(spec, ctx)
    return _act(
        RestartResult,
        spec,
        seen,
        ctx,
        was_done=lambda note: note.is_outdated_by(seen),
        act=partial(_change, "restart", spec, seen, ctx),
    )


def stop(spec: Stop, ctx: JobContext) -> StopResult:
    """Carry out a stop job.

    Raises:
        PolicyRefused: the job may not act on the container.
        EngineError: the Engine did not do it.
    """
    ctx.check()
    seen = look(spec, ctx)
    if not seen:
        return _gone(StopResult, ctx)
    return _act(
        StopResult,
        spec,
        seen,
        ctx,
        was_done=lambda note: seen.is_stopped or note.is_outdated_by(seen),
        needless=NotDone.STOPPED if seen.is_stopped else None,
        act=partial(_change, "stop", spec, seen, ctx),
    )


def start(spec: Start, ctx: JobContext) -> StartResult:
    """Carry out a start job.

    Raises:
        ContainerNotFound: the container is gone.
        PolicyRefused: the job may not act on it.
        EngineError: it cannot be started.
    """
    ctx.check()
    seen = must_see(spec, ctx)
    return _act(
        StartResult,
        spec,
        seen,
        ctx,
        was_done=lambda note: note.is_outdated_by(seen),
        needless=None if seen.is_stopped else NotDone.RUNNING,
        act=partial(_change, "start", spec, seen, ctx),
    )


def remove(spec: Remove, ctx: JobContext) -> RemoveResult:
    """Carry out a remove job.

    Raises:
        PolicyRefused: the job may not act on the container.
        EngineConflict: it runs, and `force` was not said.
    """
    ctx.check()
    seen = look(spec, ctx)
    if not seen:
        return _gone(RemoveResult, ctx)
    act = partial(ctx.engine.containers.remove, seen.id, force=spec.force, volumes=spec.volumes)
    return _act(RemoveResult, spec, seen, ctx, was_done=lambda _: False, act=act)


def run_command(spec: Exec, ctx: JobContext) -> ExecResult:
    """Carry out an exec job.

    Raises:
        ContainerNotFound: the container is gone.
        ContainerNotRunning: it does not run.
        PolicyRefused: the job may not act on it.
        CommandNotFound, CommandRefused: the command could not be begun.
        CommandLost: an earlier attempt began it, and nobody saw its end.
    """
    seen = must_see(spec, ctx)
    note = recall(ctx)
    made = note.command if note else ""
    begun = time.monotonic()
    try:
        ctx.check()
        if not made or command.look(made, ctx).is_new:
            if reason := why_not(spec, seen, ctx):
                return _result(ExecResult, seen.id, seen, reason)
            if seen.is_stopped:
                raise ContainerNotRunning(f"{seen.name} is {seen.state}")
            ctx.hold(here=True)
            if not made:
                made = command.make(spec, seen.id, ctx)
                keep(ctx, Note.of(seen, made))
            command.begin(made, ctx)
        else:
            ctx.log("an earlier attempt has begun the command; what it has written since is lost")
        ended = command.await_end(made, ctx)
    except (JobCanceled, JobTimeout, WorkerLost):
        if made:
            command.stop(spec, seen.id, made, ctx)
        raise
    result = _result(ExecResult, seen.id, ctx.engine.containers.find(seen.id))
    took = round(time.monotonic() - begun, 3)
    return result.model_copy(update={"exit_code": ended.exit_code, "duration": took})


def _act(
    model: type[R],
    spec: Action,
    seen: Container,
    ctx: JobContext,
    *,
    was_done: Callable[[Note], bool],
    act: Callable[[], None],
    needless: NotDone | None = None,
) -> R:
    """Act on the container as it was just seen, unless that was done, is not to be done, or is not needed."""
    note = recall(ctx)
    half_done = False
    if note and note.container == seen.id:
        if was_done(note):
            ctx.log("an earlier attempt has done it")
            return _result(model, seen.id, seen)
        half_done = seen.is_stopped and not note.was_stopped
    else:
        note = None
    reason = None if half_done else why_not(spec, seen, ctx) or needless
    if reason:
        return _result(model, seen.id, seen, reason)
    if not note:
        keep(ctx, Note.of(seen))
    ctx.log(f"{type(spec).__name__.lower()}: {seen.name} ({seen.id[:12]})")
    ctx.hold(here=True)
    act()
    return _result(model, seen.id, ctx.engine.containers.find(seen.id))


def _change(
    verb: Literal["start", "stop", "restart"], spec: Action, seen: Container, ctx: JobContext
) -> None:
    """Have the Engine do it, and wait for that, but no longer than the job may."""
    grace, signal = 0.0, None
    if isinstance(spec, Ending):
        given = seen.stop_timeout if spec.timeout is None else spec.timeout
        grace, signal = given if given >= 0 else _LONGEST_GRACE, spec.signal
    ask = partial(ctx.engine.containers.change, seen.id, verb, grace=grace, signal=signal)
    try:
        for _ in ctx.pump(ask):
            pass
    except (JobCanceled, JobTimeout):
        ctx.log("the Engine has begun it and sees it through")
        raise


def _gone(model: type[R], ctx: JobContext) -> R:
    """A container that is not there: as it is to be, by an earlier attempt or of itself."""
    return _result(model, None, None, None if recall(ctx) else NotDone.GONE)


def _result(
    model: type[R], container: str | None, now: Container | None, reason: NotDone | None = None
) -> R:
    return model(
        done=reason is None,
        reason=reason,
        container_id=container,
        state=now.state if now else None,
        started=now.started if now else None,
    )
