"""What a person asks of the snapshot: which containers, that one container, and how fresh the answer is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TypeVar

from dockbus.errors import DockbusError
from dockbus.snapshot import ContainerState, EngineState, Snapshot
from dockbus.stats import ContainerStats

C = TypeVar("C", ContainerState, ContainerStats)

FRESH = 120.0
"""Seconds since the last comparison for which an Engine's part of the snapshot counts as live; there is one every 30 s or so."""


class ContainerUnknown(DockbusError):
    """No Engine that is watched has such a container.

    `dockbus containers` lists those that are known, `dockbus engines` the Engines.
    """


class ContainerAmbiguous(DockbusError):
    """Several containers answer to this.

    Name the Engine too, or give the whole ID.
    """


class ContainerStopped(DockbusError):
    """The container does not run, so it uses nothing.

    `dockbus containers` says how it is; `dockbus start` starts it.
    """


def containers(
    snapshot: Snapshot,
    *,
    engine: str | None = None,
    labels: Mapping[str, str] | None = None,
    states: Collection[str] = (),
    health: str | None = None,
    name: str = "*",
) -> list[ContainerState]:
    """The containers for which all of that holds, by Engine and name.

    Args:
        snapshot: where they are looked up.
        engine: the name of their Engine; None for all.
        labels: labels that they have; an empty value matches any.
        states: such as `running`; none for all.
        health: such as `unhealthy`; None for all.
        name: a pattern for their name, such as `shop-*`.

    Raises:
        RedisUnavailable: Redis does not answer.
    """
    return [
        one
        for one in snapshot.containers(engine=engine, labels=labels)
        if (not states or one.state in states)
        and health in (None, one.health)
        and fnmatchcase(one.name, name)
    ]


def container(snapshot: Snapshot, wanted: str, engine: str | None = None) -> ContainerState:
    """The container with this name or ID; the beginning of an ID does, where it is of one only.

    Raises:
        ContainerUnknown: there is none.
        ContainerAmbiguous: there are several.
        RedisUnavailable: Redis does not answer.
    """
    return pick(snapshot.containers(engine=engine), wanted, engine)


def pick(known: Collection[C], wanted: str, engine: str | None = None) -> C:
    """The one of these with this name or ID; the beginning of an ID does, where it is of one only.

    Raises:
        ContainerUnknown: there is none.
        ContainerAmbiguous: there are several.
    """
    exact = [one for one in known if wanted in (one.id, one.name)]
    found = exact or [one for one in known if one.id.startswith(wanted)]
    if not found:
        raise ContainerUnknown(f"{wanted!r}" + (f" on Engine {engine}" if engine else ""))
    if len(found) > 1:
        places = ", ".join(f"{one.engine}/{one.id[:12]}" for one in found[:5])
        raise ContainerAmbiguous(f"{wanted!r} is {places}")
    return found[0]


def age(engine: EngineState, now: datetime) -> float | None:
    """Seconds since what is known of the Engine was right; 0 while it is heard, None where it was never compared."""
    if engine.resynced is None:
        return None
    since = (now - engine.resynced).total_seconds()
    return 0.0 if engine.connected and since < FRESH else since
