"""Whether one thing may go: asked when the plan is made, and again right before it goes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from dockbus.engine import Container, Image, NetworkView, VolumeView, has_labels
from dockbus.jobs import LABEL_BUS, LABEL_JOB, LABEL_KEEP, LABEL_MANAGED, Cleanup
from dockbus.jobs.cleanup import Reason
from dockbus.units import show_span
from dockbus_workers.building import PROVISIONAL
from dockbus_workers.cleaning.needs import Needs, whole

FOREIGN = 24 * 3600.0
"""Seconds for which a container of another bus is left alone: whether its job has ended is not known here."""


@dataclass(frozen=True)
class Kept:
    """Why something stays."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True)
class Rules:
    """What a spec lets go, at one moment. Each method answers why a thing stays, or None where it may go."""

    spec: Cleanup
    needs: Needs
    now: datetime

    def means(self, labels: Mapping[str, str]) -> bool:
        """Whether the spec is about things with these labels."""
        return has_labels(labels, self.spec.labels)

    def container(self, container: Container) -> Kept | None:
        """About a container."""
        if not container.is_stopped:
            return Kept(Reason.IN_USE, f"it is {container.state}")
        ended = container.finished or container.created
        kept = self._kept(container.labels, [container.name], ended)
        bus = container.labels.get(LABEL_BUS, self.needs.bus)
        if not kept and bus != self.needs.bus and self._age(ended) < FOREIGN:
            return Kept(Reason.NEEDED, "of another bus, perhaps")
        return kept

    def image(
        self, image: Image, users: Mapping[str, str], used: Mapping[str, float]
    ) -> Kept | None:
        """About an image; `users` has the name of a container by the ID of its image, `used` when that was."""
        if user := users.get(image.id):
            return Kept(Reason.IN_USE, f"container {user}")
        if job := self._wanting(image):
            return Kept(Reason.NEEDED, f"job {job}")
        repositories = [name.partition("@")[0] for name in image.digests]
        repositories += [tag.rpartition(":")[0] for tag in image.tags]
        if kept := self._kept(image.labels, [*image.tags, *repositories], image.created):
            return kept
        idle = self.now.timestamp() - used.get(image.id, self.now.timestamp())
        if not image.tags and min(idle, self._age(image.created)) < self.needs.build_limit:
            return Kept(Reason.NEEDED, f"job {self.needs.build}, perhaps")
        if idle < self.spec.unused_for:
            return Kept(Reason.USED, f"{show_span(max(0.0, idle))} ago")
        return None

    def _wanting(self, image: Image) -> str | None:
        """A job that needs an image by one of its names."""
        names = [image.id, *map(whole, image.tags), *image.digests]
        provisional = {name.removeprefix(PROVISIONAL) for name in names} & self.needs.jobs
        wanting = (self.needs.images.get(name) for name in names)
        return next((job for job in (*wanting, *provisional) if job), None)

    def network(self, network: NetworkView, users: Iterable[Container]) -> Kept | None:
        """About a network."""
        for user in users:
            if user.networks & {network.name, network.id}:
                return Kept(Reason.IN_USE, f"container {user.name}")
        if network.labels.get(LABEL_MANAGED) == "true":
            return Kept(Reason.NEEDED, "dockbus' own")
        if job := self.needs.networks.get(network.name) or self.needs.networks.get(network.id):
            return Kept(Reason.NEEDED, f"job {job}")
        return self._kept(network.labels, [network.name], network.created)

    def volume(self, volume: VolumeView, users: Iterable[Container]) -> Kept | None:
        """About a volume."""
        for user in users:
            if volume.name in user.volumes:
                return Kept(Reason.IN_USE, f"container {user.name}")
        if job := self.needs.volumes.get(volume.name):
            return Kept(Reason.NEEDED, f"job {job}")
        return self._kept(volume.labels, [volume.name], volume.created)

    def _kept(
        self, labels: Mapping[str, str], names: Iterable[str], since: datetime | None
    ) -> Kept | None:
        """What holds for all things alike."""
        if labels.get(LABEL_KEEP) == "true":
            return Kept(Reason.LABEL, f"{LABEL_KEEP}=true")
        if pattern := matching(names, self.spec.keep):
            return Kept(Reason.NAME, pattern)
        if (job := labels.get(LABEL_JOB)) in self.needs.jobs:
            return Kept(Reason.NEEDED, f"job {job}")
        if (age := self._age(since)) < self.spec.older_than:
            return Kept(Reason.YOUNG, show_span(max(0.0, age)))
        return None

    def _age(self, since: datetime | None) -> float:
        return (self.now - since).total_seconds() if since else 0.0


def matching(names: Iterable[str], patterns: Iterable[str]) -> str:
    """The first of the patterns that one of the names matches, or an empty string."""
    known = list(names)
    return next(
        (pattern for pattern in patterns if any(fnmatchcase(name, pattern) for name in known)), ""
    )
