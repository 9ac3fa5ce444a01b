"""Cleanup: list, plan, remove one by one and never by force. A dry run is the plan without its last step.

The Engine's own `prune` calls are not used: what they take differs between Engines, they take no plan,
and they remove a container that a run job has just made and is about to start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from dockbus.engine import Container, Engine, EngineError, Image, has_labels
from dockbus.jobs import LABEL_JOB, LABEL_KEEP, Cleanup, CleanupItem, CleanupResult
from dockbus.units import show_size
from dockbus_workers.context import JobContext


def cleanup(spec: Cleanup, ctx: JobContext) -> CleanupResult:
    """Carry out a cleanup job. What cannot be removed is reported with the reason and stops nothing."""
    ctx.check()
    items: list[CleanupItem] = []
    for item in plan(spec, ctx):
        ctx.check()
        done = item if spec.dry_run else _remove(item, ctx.engine)
        verb = (
            "would remove"
            if spec.dry_run
            else "removed"
            if done.error is None
            else "could not remove"
        )
        ctx.log(
            f"{verb} {item.type} {item.name} ({show_size(item.size)})"
            + (f": {done.error}" if done.error else "")
        )
        items.append(done)
    reclaimed = sum(item.size for item in items if item.error is None)
    return CleanupResult(dry_run=spec.dry_run, items=items, reclaimed=reclaimed)


def plan(spec: Cleanup, ctx: JobContext) -> Iterator[CleanupItem]:
    """What a spec would remove: containers first, then the images that are free after that."""
    now = datetime.now(UTC)
    for listed in ctx.engine.containers.all(size=True) if spec.containers else []:
        if not wanted(listed.labels, spec) or ctx.job_is_active(listed.labels.get(LABEL_JOB)):
            continue
        # Asked again one by one: when a container's death is announced, the Engine's list still says it runs.
        container = ctx.engine.containers.find(listed.id)
        if container and container.is_stopped and _old_enough(container, spec.older_than, now):
            yield CleanupItem(type="container", id=listed.id, name=listed.name, size=listed.size_rw)
    if spec.images:
        for image in ctx.engine.images.all(dangling=True):
            if wanted(image.labels, spec) and _age(image.created, now) >= spec.older_than:
                yield CleanupItem(type="image", id=image.id, name=_name(image), size=image.size)


def wanted(labels: Mapping[str, str], spec: Cleanup) -> bool:
    """Whether something with these labels is meant by the spec and not under protection."""
    return labels.get(LABEL_KEEP) != "true" and has_labels(labels, spec.labels)


def _old_enough(container: Container, seconds: float, now: datetime) -> bool:
    return _age(container.finished or container.created, now) >= seconds


def _age(moment: datetime | None, now: datetime) -> float:
    return (now - moment).total_seconds() if moment else 0.0


def _name(image: Image) -> str:
    names = [*image.tags, *(digest.partition("@")[0] for digest in image.digests)]
    return names[0] if names else image.id[7:19]


def _remove(item: CleanupItem, engine: Engine) -> CleanupItem:
    try:
        if item.type == "container":
            engine.containers.remove(item.id)
        else:
            engine.images.remove(item.id)
    except EngineError as error:
        return item.model_copy(update={"error": error.detail or error.title})
    return item
