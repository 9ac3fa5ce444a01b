"""Pull: bring an image from its registry to the Engine."""

from __future__ import annotations

from dockbus.jobs import Pull, PullResult
from dockbus_workers.context import JobContext
from dockbus_workers.images import obtain


def pull(spec: Pull, ctx: JobContext) -> PullResult:
    """Carry out a pull job.

    Raises:
        DockbusError: as `dockbus_workers.images.ensure_image`.
    """
    ctx.check()
    had = obtain(spec.image, spec.policy, spec.platform, spec.credentials, ctx)
    return PullResult(
        image=spec.image,
        image_id=had.image.id,
        digest=had.digest,
        size=had.image.size,
        layers=had.image.layers,
        platform=had.image.platform,
        pulled=had.pulled,
        shared=had.shared,
        fetched=had.fetched,
    )
