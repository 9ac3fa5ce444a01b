"""Waiting for a service to be up: started, and healthy where the job asks for that."""

from __future__ import annotations

import time

from dockbus.engine import Container, ContainerNotFound
from dockbus.jobs import Run
from dockbus.units import show_span
from dockbus_workers.context import JobContext
from dockbus_workers.running.errors import ContainerLost, NoHealthcheck, ServiceFailed

LOOK = 0.2
"""Seconds between two looks at its health."""
TAIL = 20
"""Lines of its output that the log of a job tells whose service did not come up."""


def await_up(container: str, spec: Run, ctx: JobContext) -> Container:
    """Wait until a service that was started is up; returns it as it is then.

    Raises:
        NoHealthcheck: it is to become healthy, and nothing probes it.
        ServiceFailed: it has ended, is unhealthy, or was not healthy in time.
        ContainerLost: somebody has removed it.
    """
    begun = time.monotonic()
    while True:
        try:
            now = ctx.engine.containers.get(container)
        except ContainerNotFound as error:
            raise ContainerLost(container[:12]) from error
        if why := _trouble(now, spec, time.monotonic() - begun):
            tell_tail(container, ctx)
            raise ServiceFailed(why)
        if now.state == "running" and (spec.wait_healthy is None or now.health == "healthy"):
            return now
        ctx.sleep(LOOK)


def tell_tail(container: str, ctx: JobContext) -> None:
    """Put the last lines of a container's output into the job's log."""
    for line in ctx.pump(lambda: ctx.engine.containers.logs(container, tail=TAIL)):
        ctx.log(line.text, line.stream, line.stamp)


def _trouble(now: Container, spec: Run, waited: float) -> str:
    """Why it will not be up; empty as long as it may."""
    said = f"; the last probe said: {now.probe.strip()}" if now.probe.strip() else ""
    if now.state in ("exited", "dead"):
        return f"it ended with exit code {now.exit_code}{f' ({now.error})' if now.error else ''}"
    if spec.wait_healthy is None:
        return ""
    if now.state == "running" and not now.health:
        raise NoHealthcheck(spec.image)
    if now.health == "unhealthy":
        return f"it is unhealthy{said}"
    if waited > spec.wait_healthy:
        return f"it was not healthy within {show_span(spec.wait_healthy)}{said}"
    return ""
