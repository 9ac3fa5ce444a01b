"""Pull: bring an image from its registry to the Engine, with progress per layer."""

from __future__ import annotations

import time

from dockbus.engine import Image, PullProgress
from dockbus.errors import DockbusError
from dockbus.joblog import Progress
from dockbus.jobs import Pull, PullResult
from dockbus.references import split
from dockbus_workers.context import JobContext

_REPORT_EVERY = 0.5  # seconds between two reports of one layer's bytes


class PlatformMismatch(DockbusError):
    """The registry gave the image of another platform.

    The image is not published for the platform asked for; leave `platform` out or choose one that it has.
    """


def pull(spec: Pull, ctx: JobContext) -> PullResult:
    """Carry out a pull job."""
    ctx.check()
    image, fetched = fetch(spec.image, spec.platform, ctx)
    # Engines take a single-platform image for any platform without a word.
    if spec.platform and not image.platform.startswith(spec.platform):
        raise PlatformMismatch(f"{spec.image} is {image.platform}, not {spec.platform}")
    repository, _ = split(spec.image)
    digests = [
        name.partition("@")[2] for name in image.digests if name.startswith(f"{repository}@")
    ]
    return PullResult(
        image=spec.image,
        image_id=image.id,
        digest=next(iter(digests), None),
        size=image.size,
        platform=image.platform,
        fetched=fetched,
    )


def fetch(name: str, platform: str | None, ctx: JobContext) -> tuple[Image, int]:
    """Pull an image; the image as the Engine now has it, and the bytes that were downloaded for it."""
    ctx.log(f"pulling {name}")
    totals: dict[str, int] = {}
    reported: dict[str, tuple[str, float]] = {}
    for step in ctx.pump(lambda: ctx.engine.images.pull(name, platform=platform)):
        if not step.layer:
            ctx.log(step.status)
            continue
        if step.status == "Downloading":
            totals[step.layer] = max(step.total, totals.get(step.layer, 0))
        if _worth_telling(step, reported):
            ctx.progress(
                Progress(
                    step=step.layer, status=step.status, current=step.current, total=step.total
                )
            )
    return ctx.engine.images.get(name), sum(totals.values())


def _worth_telling(step: PullProgress, reported: dict[str, tuple[str, float]]) -> bool:
    """Whether a layer has entered a new status, or has been silent for a while."""
    status, when = reported.get(step.layer, ("", 0.0))
    now = time.monotonic()
    if step.status == status and now - when < _REPORT_EVERY:
        return False
    reported[step.layer] = (step.status, now)
    return True
