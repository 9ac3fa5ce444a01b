"""A command in a container that runs: begun once, followed to its end, and stopped as far as that can be done.

The Engine cannot stop a command. So each carries a mark in its environment, by which a shell in the same container
finds it and whatever it has started. Without `sh` and `grep` there, or as another user, it runs on, and the log says so.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial

from dockbus.engine import CommandNotFound, EngineError, ExecNotFound, ExecView
from dockbus.engine.errors import classify
from dockbus.jobs import Exec
from dockbus_workers.acting.errors import CommandLost, CommandRefused
from dockbus_workers.context import JobContext

PATIENCE = 3.0
"""Seconds that a command has to end after each of SIGTERM and SIGKILL."""
LOOK = 0.2
"""Seconds between two looks at a command whose output is not read."""
_KILL = (
    'for file in $(grep -ls "$1" /proc/[0-9]*/environ); do'
    ' pid=${file#/proc/}; kill -"$2" "${pid%/environ}"; done'
)


def make(spec: Exec, container: str, ctx: JobContext) -> str:
    """The ID of the job's command in that container, not started."""
    secret = {variable: ctx.secret(name) for variable, name in spec.env_from.items()}
    name, _, value = _mark(ctx).partition("=")
    return ctx.engine.execs.create(
        container,
        spec.command,
        user=spec.user,
        working_dir=spec.working_dir,
        env={**spec.env, **secret, name: value},
    )


def begin(command: str, ctx: JobContext) -> None:
    """Start it, and log what it writes to its end.

    Raises:
        CommandNotFound: the container has no such program.
        CommandRefused: it has no such user or folder.
    """
    last, ours = (
        "",
        f"Error: Exec command {command} ",
    )  # the Engine's word that it was started before
    for line in ctx.pump(partial(ctx.engine.execs.start, command)):
        if not line.text.startswith(ours):
            ctx.log(line.text, line.stream)
            last = line.text
    view = await_end(command, ctx)
    if view.pid == 0:  # what the Engine has to say of that comes in the place of output
        refusal = classify(None, last)
        raise refusal if isinstance(refusal, CommandNotFound) else CommandRefused(last)


def await_end(command: str, ctx: JobContext) -> ExecView:
    """Wait for the end of a command that was started; how it ended.

    Raises:
        CommandLost: the Engine does not know it any more.
    """
    while (view := look(command, ctx)).exit_code is None:
        ctx.sleep(LOOK)
    return view


def look(command: str, ctx: JobContext) -> ExecView:
    """How a command is.

    Raises:
        CommandLost: the Engine does not know it any more.
    """
    try:
        return ctx.engine.execs.get(command)
    except ExecNotFound:
        raise CommandLost from None


def stop(spec: Exec, container: str, command: str, ctx: JobContext) -> None:
    """End it, by SIGTERM or else SIGKILL, as far as that can be done from within its container."""
    with suppress(EngineError, CommandLost):
        for signal in ("TERM", "KILL"):
            if look(command, ctx).running:
                words = ["sh", "-c", _KILL, "sh", _mark(ctx), signal]
                killer = ctx.engine.execs.create(container, words, user=spec.user)
                for _ in ctx.engine.execs.start(killer):
                    pass
            if _has_ended(command, ctx):
                ctx.log("the command was stopped")
                return
    ctx.log("the command could not be stopped: it runs on in its container")


def _has_ended(command: str, ctx: JobContext) -> bool:
    """Whether it ends in time. Not by `ctx.sleep`: the job has been told to stop already."""
    end = time.monotonic() + PATIENCE
    while look(command, ctx).running:
        if time.monotonic() > end:
            return False
        time.sleep(LOOK / 2)
    return True


def _mark(ctx: JobContext) -> str:
    return f"DOCKBUS_EXEC={ctx.job}-{ctx.seal}"
