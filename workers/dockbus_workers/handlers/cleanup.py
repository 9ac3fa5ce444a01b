"""Cleanup: look, plan, remove one by one and never by force. A dry run is the plan without its last step.

The Engine's own `prune` calls are not used but for the build cache: what they take differs between Engines, they take no
plan, and they remove a container that a run job has just made and is about to start.
"""

from __future__ import annotations

from datetime import UTC, datetime

from dockbus.jobs import Cleanup, CleanupResult
from dockbus_workers.cleaning.act import Sweep
from dockbus_workers.cleaning.inventory import measure, take
from dockbus_workers.cleaning.needs import Watch
from dockbus_workers.cleaning.plan import plan
from dockbus_workers.context import JobContext


def cleanup(spec: Cleanup, ctx: JobContext) -> CleanupResult:
    """Carry out a cleanup job. What cannot be removed is reported with the reason and stops nothing.

    Raises:
        DiskUnknown: it is to go by the Engine's disk, and that cannot be seen from here.
        EngineError: the Engine does not answer.
    """
    ctx.check()
    watch = Watch(ctx)
    inventory = take(spec, ctx)
    if inventory.disk:
        ctx.log(f"the disk is {inventory.disk.percent:.1f}% full")
    sweep = Sweep(spec, inventory, watch, ctx)
    sweep.carry_out(plan(spec, inventory, watch.look(), datetime.now(UTC)))
    if sweep.skipped:
        told = ", ".join(f"{count} {reason.value}" for reason, count in sweep.skipped.most_common())
        ctx.log(f"skipped {sweep.skipped.total()}: {told}")
    reclaimed = sum(item.size for item in sweep.items if item.outcome != "skipped")
    if inventory.total is not None and not spec.dry_run:
        reclaimed = max(0, inventory.total - measure(spec, ctx).total)
    return CleanupResult(
        dry_run=spec.dry_run,
        items=sweep.items,
        skipped=dict(sweep.skipped),
        reclaimed=reclaimed,
        disk_before=round(inventory.disk.percent, 1) if inventory.disk else None,
        disk_after=round(sweep.disk.percent, 1) if sweep.disk else None,
    )
