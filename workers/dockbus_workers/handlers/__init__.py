"""The registry of handlers: for each kind of job, the function that carries it out.

A handler takes its spec and a `JobContext` and returns its result or raises; it keeps nothing between jobs.
It calls `ctx.check()` before it begins, or, where an earlier attempt may have left something, once it holds that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dockbus.jobs import Kind, ResultModel
from dockbus_workers.context import JobContext
from dockbus_workers.handlers.actions import remove, restart, run_command, start, stop
from dockbus_workers.handlers.build import build
from dockbus_workers.handlers.cleanup import cleanup
from dockbus_workers.handlers.pull import pull
from dockbus_workers.handlers.run import clear, run
from dockbus_workers.handlers.scan import scan

HANDLERS: dict[Kind, Callable[[Any, JobContext], ResultModel]] = {
    Kind.PULL: pull,
    Kind.BUILD: build,
    Kind.RUN: run,
    Kind.SCAN: scan,
    Kind.CLEANUP: cleanup,
    Kind.RESTART: restart,
    Kind.STOP: stop,
    Kind.START: start,
    Kind.REMOVE: remove,
    Kind.EXEC: run_command,
}

CLEARING: dict[Kind, Callable[[JobContext], None]] = {Kind.RUN: clear}
"""For the kinds that leave something: how to remove it, by whoever finds the job concluded."""
