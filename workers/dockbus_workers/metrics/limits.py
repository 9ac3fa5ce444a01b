"""Which containers are over a limit, since when, and when that is to be told. Pure: no Engine, no Redis, no clock.

A container that is over a limit begins an *episode*. It is told once, when it has lasted; and its end is told where it was.
A look that says nothing of a container, since its Engine answered late, changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, TypeAdapter

from dockbus.limits import EXCEEDED, RECOVERED, Resource, limits_of
from dockbus.stats import ContainerStats


class Episode(BaseModel):
    """A container that is over a limit without a break."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    id: str
    name: str
    image: str
    resource: Resource
    limit: float
    """Percent."""
    since: datetime
    """The first look that found it so."""
    started: datetime | None
    """When the life of the container began that it is about."""
    told: bool = False


@dataclass(frozen=True)
class Crossing:
    """What is to be told of an episode."""

    type: str
    """The event's."""
    episode: Episode
    time: datetime
    value: float | None
    """Percent; None where the container has ended."""


EPISODES = TypeAdapter(list[Episode])
"""How episodes are kept."""
_USED: Mapping[Resource, str] = {"cpu": "cpu_percent", "memory": "memory_percent"}


class Watchdog:
    """The episodes of one Engine's containers."""

    def __init__(
        self, limits: Mapping[Resource, float], patience: float, known: Iterable[Episode] = ()
    ) -> None:
        """Of containers without labels that say otherwise.

        Args:
            limits: of each resource in percent; 0 for none.
            patience: seconds that an episode lasts before it is told.
            known: episodes that were known before.
        """
        self._limits = limits
        self._patience = patience
        self._episodes = {(one.id, one.resource): one for one in known}

    @property
    def episodes(self) -> list[Episode]:
        """Those that go on."""
        return list(self._episodes.values())

    def judge(
        self, measured: Iterable[ContainerStats], running: Collection[str], now: datetime
    ) -> list[Crossing]:
        """Take in a look at all containers; what is to be told after it.

        Args:
            measured: those that gave an answer.
            running: the IDs of all that run.
            now: when it was.
        """
        found = [crossing for one in measured for crossing in self._weigh(one)]
        for (id_, _), episode in list(self._episodes.items()):
            if id_ not in running:
                found += self._end(episode, now, None)
        return found

    def _weigh(self, one: ContainerStats) -> Iterator[Crossing]:
        limits = limits_of(one.labels, self._limits)
        for resource, field in _USED.items():
            value: float | None = getattr(one, field)
            episode = self._episodes.get((one.id, resource))
            if episode and episode.started != one.started:
                yield from self._end(episode, one.time, None)
                episode = None
            if value is None:
                continue
            limit = limits.get(resource)
            if limit is None or value <= limit:
                if episode:
                    yield from self._end(episode, one.time, value)
                continue
            yield from self._go_on(episode or _begun(one, resource, limit), one.time, value, limit)

    def _go_on(
        self, episode: Episode, now: datetime, value: float, limit: float
    ) -> Iterator[Crossing]:
        lasted = (now - episode.since).total_seconds() >= self._patience
        current = episode.model_copy(update={"limit": limit, "told": episode.told or lasted})
        self._episodes[episode.id, episode.resource] = current
        if current.told and not episode.told:
            yield Crossing(EXCEEDED, current, now, value)

    def _end(self, episode: Episode, now: datetime, value: float | None) -> Iterator[Crossing]:
        del self._episodes[episode.id, episode.resource]
        if episode.told:
            yield Crossing(RECOVERED, episode, now, value)


def _begun(one: ContainerStats, resource: Resource, limit: float) -> Episode:
    return Episode(
        id=one.id,
        name=one.name,
        image=one.image,
        resource=resource,
        limit=limit,
        since=one.time,
        started=one.started,
    )
