"""Following an image on its way between the Engine and a registry: what is told of it, and what it comes to."""

from __future__ import annotations

import time
from collections.abc import Callable

from dockbus.engine import Login, PullProgress, RegistryDenied, Stream
from dockbus.joblog import Progress
from dockbus_workers.context import JobContext

_REPORT_EVERY = 0.5  # seconds between two reports of one layer's bytes


def follow(
    start: Callable[[], Stream[PullProgress]], login: Login | None, ctx: JobContext
) -> tuple[str, int]:
    """Carry a transfer to its end and tell of it; the image's digest, and the bytes that were downloaded."""
    digest = ""
    totals: dict[str, int] = {}
    told: dict[str, tuple[str, float]] = {}
    try:
        for step in ctx.pump(start):
            if step.layer:
                _tell(step, told, ctx)
            elif step.status:
                ctx.log(step.status)
            if step.status == "Downloading":  # what is taken up again counts the rest only
                totals[step.layer] = max(step.total, totals.get(step.layer, 0))
            digest = step.digest or digest
    except RegistryDenied as error:
        raise denied(error, login) from None
    return digest, sum(totals.values())


def _tell(step: PullProgress, told: dict[str, tuple[str, float]], ctx: JobContext) -> None:
    """Tell of a layer that has entered a new status, or that nothing was told of for a while."""
    status, when = told.get(step.layer, ("", 0.0))
    now = time.monotonic()
    if step.status != status or now - when >= _REPORT_EVERY:
        told[step.layer] = (step.status, now)
        ctx.progress(
            Progress(step=step.layer, status=step.status, current=step.current, total=step.total)
        )


def denied(error: RegistryDenied, login: Login | None) -> RegistryDenied:
    """The same, with what the registry was asked by."""
    who = login.source if login else "no credentials"
    return RegistryDenied(f"asked with {who}: {error.detail}")
