"""What jobs that have not ended need on an Engine: images, networks and volumes that they name.

A base image that a queued build will ask for is not known here, and neither is what jobs of another bus need.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dockbus.ids import JobId
from dockbus.jobs import Build, Pull, Run, Scan
from dockbus.orders import Order
from dockbus.references import Reference, is_id
from dockbus_workers.context import JobContext


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Which job needs what, by name."""

    bus: str = ""
    """The name of the bus whose jobs these are."""
    jobs: frozenset[str] = frozenset()
    """The jobs themselves."""
    images: Mapping[str, JobId] = field(default_factory=dict[str, JobId])
    """By the image's whole name, or its ID."""
    networks: Mapping[str, JobId] = field(default_factory=dict[str, JobId])
    volumes: Mapping[str, JobId] = field(default_factory=dict[str, JobId])
    build: str = ""
    """A build that is going on; what it has made so far has no name yet."""
    build_limit: float = 0.0
    """Seconds that such a build may take, and so the age of whatever it has made."""

    @classmethod
    def of(
        cls, orders: Mapping[JobId, Order], jobs: Mapping[JobId, bool], *, bus: str = ""
    ) -> Needs:
        """What these jobs need.

        Args:
            orders: those that can be read.
            jobs: all that have not ended, and whether each is being carried out.
            bus: the name of their bus.
        """
        images, networks, volumes = dict[str, JobId](), dict[str, JobId](), dict[str, JobId]()
        for job, order in orders.items():
            match order.spec:
                case Build() as build:
                    images.update((whole(tag), job) for tag in build.tags)
                case Run() as run:
                    images[whole(run.image)] = job
                    networks.update((network.name, job) for network in run.networks)
                    volumes.update(
                        (mount.source, job)
                        for mount in run.volumes
                        if mount.type == "volume" and mount.source
                    )
                case Pull() | Scan() as other if other.image:
                    images[whole(other.image)] = job
                case _:
                    pass
        builds = {
            job: order.limit
            for job, order in orders.items()
            if jobs[job] and isinstance(order.spec, Build)
        }
        return cls(
            bus=bus,
            jobs=frozenset(jobs),
            images=images,
            networks=networks,
            volumes=volumes,
            build=next(iter(builds), ""),
            build_limit=max(builds.values(), default=0.0),
        )


class Watch:
    """The needs of all jobs that may come to this Engine, kept up to date: a job's order is read once."""

    def __init__(self, ctx: JobContext) -> None:
        self._ctx = ctx
        self._bus = ctx.bus_name
        self._jobs: dict[JobId, bool] = {}
        self._orders: dict[JobId, Order] = {}
        self._needs = Needs(bus=self._bus)

    def look(self) -> Needs:
        """What is needed now."""
        with self._ctx.attached():
            there = self._ctx.jobs.unended(self._ctx.engine.name)
            there.pop(self._ctx.job, None)
            if there != self._jobs:
                new = self._ctx.jobs.orders(there.keys() - self._jobs.keys())
                known = (self._orders | new).items()
                self._orders = {job: order for job, order in known if job in there}
                self._needs = Needs.of(self._orders, there, bus=self._bus)
                self._jobs = there
        return self._needs


def whole(name: str) -> str:
    """The whole name of an image, the same for all names of one image; of an ID, the ID."""
    if is_id(name):
        return f"sha256:{name.removeprefix('sha256:')}"
    return Reference.parse(name).name
