"""A real worker process that kills itself at a chosen point of a job's life; called with its queue's name.

Only the tests know of these points: the calls that make them up are wrapped here, from outside. Told by
the environment: CHAOS_DIE is `point:side:n`, to die just before or after the nth passing of that point;
CHAOS_DIARY is the file that the death is noted in; CHAOS_CALM is a file that, once it is there, ends all dying.
"""

# What is wrapped has as many signatures as there are points.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dockbus.engine import Container, ContainerSpec
from dockbus.engine.containers import Containers
from dockbus.jobs import LABEL_JOB, Queue
from dockbus.logs import log_to_stderr
from dockbus.queue import Attempts
from dockbus.settings import Settings
from dockbus_workers.handlers import HANDLERS
from dockbus_workers.process import WorkerProcess

LABEL_POISON = "chaos.poison"
"""On a run job: where its attempts kill their worker, before `handle` or after `start`."""


class Fate:
    """When this process dies."""

    def __init__(self, when: str, diary: Path, calm: Path) -> None:
        point, side, passing = when.split(":") if when else ("", "", "0")
        self._at = (point, side)
        self._left = int(passing)
        self._diary = diary
        self._calm = calm
        self._lock = threading.Lock()

    def reach(self, point: str, side: str) -> None:
        """Pass a point, or die of it."""
        if (point, side) != self._at:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0 and not self._calm.exists():
                self.die(f"{point}:{side}")

    def die(self, where: str) -> None:
        """Die by a kill, which nothing can catch."""
        with self._diary.open("a") as diary:  # so short a line is appended whole
            diary.write(f"{where} {os.getpid()}\n")
        os.kill(os.getpid(), signal.SIGKILL)


def wrap(fate: Fate) -> None:
    """Put the points around the calls of a worker."""
    poison: dict[str, str] = {}

    def around(point: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **more: Any) -> Any:
            fate.reach(point, "before")
            answer = call(*args, **more)
            fate.reach(point, "after")
            return answer

        return wrapped

    take, create, start, get = Attempts.take, Containers.create, Containers.start, Containers.get

    def taken(self: Attempts, queue: str, **more: Any) -> Any:
        fate.reach("take", "before")
        answer = take(self, queue, **more)
        for attempt in answer[0]:
            labels = getattr(getattr(attempt.order, "spec", None), "labels", {})
            if attempt.verdict == "go-on" and LABEL_POISON in labels:
                poison[attempt.job] = labels[LABEL_POISON]
            fate.reach("take", "after")
        return answer

    def handled(handler: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(spec: Any, ctx: Any) -> Any:
            if poison.get(ctx.job) == "handle":
                fate.die("poison:handle")
            return handler(spec, ctx)

        return around("handle", wrapped)

    made: dict[str, str] = {}

    def created(self: Containers, spec: ContainerSpec) -> str:
        container = create(self, spec)
        made[container] = spec.labels[LABEL_JOB]
        return container

    def started(self: Containers, container: str) -> None:
        start(self, container)
        if poison.get(made.get(container, "")) == "start":
            fate.die("poison:start")

    def got(self: Containers, container: str) -> Container:
        answer = get(self, container)
        if answer.state == "exited":
            fate.reach("exited", "after")
        return answer

    Attempts.take = taken  # type: ignore[method-assign]
    for name in ("claim", "log", "conclude", "settle"):
        setattr(Attempts, name, around(name, getattr(Attempts, name)))
    Containers.create = around("create", created)  # type: ignore[method-assign]
    Containers.start = around("start", started)  # type: ignore[method-assign]
    Containers.remove = around("remove", Containers.remove)  # type: ignore[method-assign]
    Containers.get = got  # type: ignore[method-assign]
    for kind, handler in HANDLERS.items():
        HANDLERS[kind] = handled(handler)


def main() -> None:
    """Be that worker."""
    wrap(
        Fate(
            os.environ["CHAOS_DIE"],
            Path(os.environ["CHAOS_DIARY"]),
            Path(os.environ["CHAOS_CALM"]),
        )
    )
    settings = Settings.from_env()
    log_to_stderr(settings.log)
    WorkerProcess(Queue(sys.argv[1]), settings).run()
