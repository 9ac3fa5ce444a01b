"""Carrying out a plan: one thing after the other, by its ID and never by force, each looked at once more before it goes.

What cannot be removed is a word in the result and stops nothing. Only an Engine that is away ends the job, which then is
tried again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime

from dockbus.engine import (
    ContainerNotFound,
    EngineError,
    EngineUnavailable,
    FileSystem,
    Image,
    ImageNotFound,
)
from dockbus.jobs import LABEL_JOB, Cleanup, CleanupItem
from dockbus.jobs.cleanup import SHOWN, Leftover, Reason
from dockbus.units import show_size
from dockbus_workers.cleaning.inventory import Inventory
from dockbus_workers.cleaning.needs import Watch, whole
from dockbus_workers.cleaning.plan import Choice, Lineage, bases, records, title
from dockbus_workers.cleaning.rules import Kept, Rules
from dockbus_workers.context import JobContext


class Sweep:
    """One job's way through its plan. `items`, `skipped`, `removed` and `disk` tell how far it has come."""

    def __init__(self, spec: Cleanup, inventory: Inventory, watch: Watch, ctx: JobContext) -> None:
        self.items: list[CleanupItem] = []
        self.skipped: Counter[Reason] = Counter()
        self.removed = 0
        self.disk: FileSystem | None = inventory.disk
        self._spec = spec
        self._watch = watch
        self._ctx = ctx
        self._engine = ctx.engine
        self._images = {image.id: image for image in inventory.images}
        self._parents = inventory.parents

    def carry_out(self, choices: Iterable[Choice]) -> None:
        """Remove what goes, as far as the spec's limits allow; in a dry run, only say so.

        Raises:
            EngineUnavailable: the Engine went away.
        """
        for choice in choices:
            self._ctx.check()
            kept = choice.kept or self._limit()
            size = choice.size
            if not kept and not self._spec.dry_run:
                kept, size = self._remove(choice)
            self._note(choice, kept, size)

    def _limit(self) -> Kept | None:
        if self.removed >= self._spec.max:
            return Kept(Reason.LIMIT, f"{self._spec.max} a job")
        if self.disk and self.disk.percent <= (self._spec.low_mark or 0):
            return Kept(Reason.ROOM, f"the disk is {self.disk.percent:.1f}% full")
        return None

    def _note(self, choice: Choice, kept: Kept | None, size: int) -> None:
        what = f"{choice.type} {choice.name} ({show_size(size)})"
        if kept:
            self.skipped[kept.reason] += 1
            if not choice.kept and kept.reason not in (Reason.LIMIT, Reason.ROOM):
                self._ctx.log(f"left {what}: {kept.reason.value}, {kept.detail}")
            if self.skipped.total() > SHOWN:
                return
        else:
            self.removed += 1
            if self.disk:
                dry = self._spec.dry_run
                self.disk = self.disk.without(size) if dry else self._engine.disk.file_system()
            self._ctx.log(f"{'would remove' if self._spec.dry_run else 'removed'} {what}")
        self.items.append(
            CleanupItem(
                type=choice.type,
                id=choice.id,
                name=choice.name,
                size=size,
                outcome="skipped"
                if kept
                else "would be removed"
                if self._spec.dry_run
                else "removed",
                reason=kept.reason if kept else None,
                detail=(kept.detail or None) if kept else None,
            )
        )

    # -- removing --------------------------------------------------------------------------

    def _remove(self, choice: Choice) -> tuple[Kept | None, int]:
        """Remove one thing; why that was not done, and the bytes that went."""
        if choice.type == "build cache":
            return self._remove_build_cache()
        remove: dict[Leftover, Callable[[Choice], Kept | None]] = {
            "container": self._remove_container,
            "image": self._remove_image,
            "network": self._remove_network,
            "volume": self._remove_volume,
        }
        try:
            return remove[choice.type](choice), choice.size
        except EngineUnavailable:
            raise
        except (ContainerNotFound, ImageNotFound):
            return Kept(Reason.GONE), choice.size
        except EngineError as error:
            return Kept(Reason.REFUSED, error.detail or error.title), choice.size

    def _rules(self) -> Rules:
        return Rules(self._spec, self._watch.look(), datetime.now(UTC))

    def _remove_container(self, choice: Choice) -> Kept | None:
        container = self._engine.containers.find(choice.id)
        if not container:
            return Kept(Reason.GONE)
        kept = self._rules().container(container)
        if not kept:
            self._ctx.hold()
            # A job's container brought its anonymous volumes; those of others may hold what somebody misses.
            self._engine.containers.remove(choice.id, volumes=LABEL_JOB in container.labels)
        return kept

    def _remove_network(self, choice: Choice) -> Kept | None:
        network = self._engine.networks.find(choice.id)
        if not network:
            return Kept(Reason.GONE)
        kept = self._rules().network(network, self._engine.containers.all())
        if not kept:
            self._ctx.hold()
            self._engine.networks.remove(choice.id)
        return kept

    def _remove_volume(self, choice: Choice) -> Kept | None:
        volume = self._engine.volumes.find(choice.id)
        if not volume:
            return Kept(Reason.GONE)
        kept = self._rules().volume(volume, self._engine.containers.all())
        if not kept:
            self._ctx.hold()
            self._engine.volumes.remove(choice.id)
        return kept

    def _remove_image(self, choice: Choice) -> Kept | None:
        image = self._engine.images.find(choice.id)
        if not image:
            return Kept(Reason.GONE)
        with ExitStack() as permits:
            for name in (*image.tags, *image.digests):
                if not permits.enter_context(self._ctx.try_permit(f"image:{whole(name)}")):
                    return Kept(Reason.BUSY, name)
            kept = self._image_stays(image, choice)
            if not kept:
                self._ctx.hold()
                self._remove_names(image)
                self._images.pop(image.id, None)
                self._ctx.images_forgotten(image.id)
            return kept

    def _image_stays(self, image: Image, choice: Choice) -> Kept | None:
        if more := set(image.tags) - set(choice.names):
            return Kept(Reason.CHANGED, f"it is {min(more)} now")
        users = {each.image_id: each.name for each in self._engine.containers.all()}
        used = self._ctx.images_used() if self._spec.unused_for else {}
        if kept := self._rules().image(image, users, used):
            return kept
        there = {each.id for each in self._engine.images.all()}
        if new := there - self._images.keys():
            found = [self._engine.images.find(each) for each in new]
            self._images |= {each.id: each for each in found if each}
            self._parents = self._engine.images.parents()
        lineage = Lineage.of([image], self._parents)
        for other in self._images.values():
            if other.id in there and image.id in bases(other, lineage):
                return Kept(Reason.BASE, title(other))
        return None

    def _remove_names(self, image: Image) -> None:
        """Remove an image by all its names: of one with several, the Engine removes nothing by its ID."""
        images = self._engine.images
        for name in image.tags:
            images.remove(name)
        for name in image.digests:
            if images.find(image.id):
                with suppress(ImageNotFound):  # it went with the last tag of its repository
                    images.remove(name)
        if images.find(image.id):
            images.remove(image.id)

    def _remove_build_cache(self) -> tuple[Kept | None, int]:
        wanted = self._spec.build_cache
        assert wanted  # noqa: S101  there is no such choice without it
        self._ctx.hold()
        (pruned,) = self._ctx.pump(
            lambda: self._engine.disk.prune_build_cache(
                unused_for=wanted.unused_for, keep=wanted.keep_bytes
            )
        )
        self._ctx.log(f"the Engine removed {records(pruned.records)} of its build cache")
        return (None if pruned.records else Kept(Reason.GONE)), pruned.size
