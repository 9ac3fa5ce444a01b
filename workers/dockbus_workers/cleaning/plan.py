"""What goes, and what stays and why: decided from one look at the Engine. Pure.

Within each sort of thing, what was used longest ago comes first, since a job may stop before the end of its plan. An image
comes after all those that are built on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from dockbus.engine import Container, Image, VolumeView
from dockbus.jobs import LABEL_JOB, Cleanup
from dockbus.jobs.cleanup import Leftover, Reason
from dockbus_workers.cleaning.inventory import Inventory
from dockbus_workers.cleaning.needs import Needs
from dockbus_workers.cleaning.rules import Kept, Rules, matching

_NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is to become of one thing."""

    type: Leftover
    id: str
    name: str
    size: int
    names: tuple[str, ...] = ()
    """All names of an image."""
    kept: Kept | None = None
    """Why it stays; None where it goes."""


def plan(spec: Cleanup, inventory: Inventory, needs: Needs, now: datetime) -> list[Choice]:
    """What becomes of all that the spec means, in the order in which it goes; nothing where the disk has room enough."""
    disk = inventory.disk
    if disk and spec.when_disk_over and disk.percent <= spec.when_disk_over:
        return []
    rules = Rules(spec, needs, now)
    choices = list(_containers(rules, inventory)) if spec.containers else []
    going = {choice.id for choice in choices if not choice.kept}
    users = [container for container in inventory.containers if container.id not in going]
    taken = {
        volume
        for container in inventory.containers
        if container.id in going and LABEL_JOB in container.labels
        for volume in container.volumes
    }
    choices += _images(rules, inventory, users)
    choices += _networks(rules, inventory, users)
    choices += _volumes(rules, inventory, users, taken)
    choices += _build_cache(rules, inventory)
    return choices


def bases(image: Image, lineage: Lineage) -> set[str]:
    """The IDs of the images that this one is built on: its parents, and those whose layers are its first ones."""
    found = {
        base
        for count in range(1, len(image.diff_ids))
        for base in lineage.by_layers.get(image.diff_ids[:count], ())
    }
    parent = lineage.parents.get(image.id)
    while parent and parent not in found:
        found.add(parent)
        parent = lineage.parents.get(parent)
    return found


@dataclass(frozen=True)
class Lineage:
    """What tells which image is built on which."""

    by_layers: Mapping[tuple[str, ...], list[str]]
    """IDs of images by their layers."""
    parents: Mapping[str, str]
    """The ID that an image was built on, as far as the Engine remembers."""

    @classmethod
    def of(cls, images: Iterable[Image], parents: Mapping[str, str]) -> Lineage:
        """The lineage of these images."""
        by_layers: dict[tuple[str, ...], list[str]] = {}
        for image in images:
            by_layers.setdefault(image.diff_ids, []).append(image.id)
        return cls(by_layers, parents)


def title(image: Image) -> str:
    """What to call an image: its first name, or its short ID."""
    names = [*image.tags, *(digest.partition("@")[0] for digest in image.digests)]
    return names[0] if names else image.id.removeprefix("sha256:")[:12]


def _containers(rules: Rules, inventory: Inventory) -> Iterator[Choice]:
    meant = [
        container
        for container in inventory.containers
        if container.state in rules.spec.states and rules.means(container.labels)
    ]
    for container in sorted(meant, key=lambda each: each.finished or each.created or _NEVER):
        yield Choice(
            type="container",
            id=container.id,
            name=container.name,
            size=container.size_rw,
            kept=rules.container(container),
        )


def _images(rules: Rules, inventory: Inventory, users: list[Container]) -> list[Choice]:
    spec = rules.spec
    used_by = {container.image_id: container.name for container in users}
    last = _last(inventory.images, spec.keep_last)
    meant: dict[str, Image] = {}
    kept: dict[str, Kept] = {}
    for image in inventory.images:
        if (spec.images == "dangling" and image.tags) or not rules.means(image.labels):
            continue
        meant[image.id] = image
        if why := rules.image(image, used_by, inventory.used) or last.get(image.id):
            kept[image.id] = why
    lineage = Lineage.of(inventory.images, inventory.parents)
    built_on = {image.id: bases(image, lineage) for image in inventory.images}
    staying = [image for image in inventory.images if image.id not in meant or image.id in kept]
    for image in staying:  # it grows, for what a base is built on stays as well
        for base in built_on[image.id] & (meant.keys() - kept.keys()):
            kept[base] = Kept(Reason.BASE, title(image))
            staying.append(meant[base])
    # A base counts as used when the last of what is built on it was, so that it comes after that.
    used = {each: inventory.used.get(each, 0.0) for each in meant}
    for each in meant:
        for base in built_on[each] & meant.keys():
            used[base] = max(used[base], inventory.used.get(each, 0.0))
    return [
        Choice(
            type="image",
            id=image.id,
            name=title(image),
            size=inventory.unique.get(image.id, 0),
            names=image.tags,
            kept=kept.get(image.id),
        )
        for image in sorted(
            meant.values(), key=lambda each: (used[each.id], -len(built_on[each.id]))
        )
    ]


def _last(images: Iterable[Image], count: int) -> dict[str, Kept]:
    """The images that were made last in their repository, so many of each."""
    repositories: dict[str, dict[str, Image]] = {}
    for image in images if count else ():
        for tag in image.tags:
            repositories.setdefault(tag.rpartition(":")[0], {})[image.id] = image
    return {
        image.id: Kept(Reason.LAST, f"{count} of {repository}")
        for repository, members in repositories.items()
        for image in sorted(members.values(), key=lambda each: each.created or _NEVER)[-count:]
    }


def _networks(rules: Rules, inventory: Inventory, users: list[Container]) -> Iterator[Choice]:
    for network in sorted(inventory.networks, key=lambda each: each.created or _NEVER):
        if not network.predefined and rules.means(network.labels):
            yield Choice(
                type="network",
                id=network.id,
                name=network.name,
                size=0,
                kept=rules.network(network, users),
            )


def _volumes(
    rules: Rules, inventory: Inventory, users: list[Container], taken: set[str]
) -> Iterator[Choice]:
    """About volumes, but for anonymous ones that a job's container takes along."""
    spec = rules.spec

    def is_meant(volume: VolumeView) -> bool:
        if volume.anonymous:
            return spec.volumes in ("anonymous", "all") and volume.name not in taken
        patterns = spec.volume_names or ["*"]
        return spec.volumes in ("named", "all") and matching([volume.name], patterns) != ""

    for volume in sorted(inventory.volumes, key=lambda each: each.created or _NEVER):
        if is_meant(volume) and rules.means(volume.labels):
            yield Choice(
                type="volume",
                id=volume.name,
                name=volume.name,
                size=volume.size,
                kept=rules.volume(volume, users),
            )


def _build_cache(rules: Rules, inventory: Inventory) -> Iterator[Choice]:
    """About the build cache as a whole; the Engine picks the records itself, so what it will be is an estimate."""
    wanted = rules.spec.build_cache
    if not wanted:
        return
    total = sum(record.size for record in inventory.build_cache)
    count = size = 0
    for record in sorted(inventory.build_cache, key=lambda each: each.used or _NEVER):
        idle = (rules.now - (record.used or _NEVER)).total_seconds()
        if record.in_use or idle < wanted.unused_for:
            continue
        if wanted.keep_bytes and total - size <= wanted.keep_bytes:
            break
        count, size = count + 1, size + record.size
    if count:
        yield Choice(type="build cache", id="", name=records(count), size=size)


def records(count: int) -> str:
    """What to call so much of the build cache."""
    return f"{count} record{'s' if count != 1 else ''}"
