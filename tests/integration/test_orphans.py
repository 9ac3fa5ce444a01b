"""Containers whose jobs are gone, on a real Engine: those of this bus are removed, those of another are not."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

import pytest

from dockbus import Bus
from dockbus.engine import ContainerNotFound, ContainerSpec, Engine
from dockbus.jobs import LABEL_BUS, LABEL_JOB, LABEL_REMOVE
from dockbus.jobs.running import Network
from dockbus_workers import orphans

Left = Callable[[str], str]
"""A container that runs, of a job of the bus with this name which nobody remembers; its ID."""


@pytest.fixture
def left(engine: Engine, base_image: str) -> Generator[Left]:
    made: list[str] = []

    def leave(bus: str) -> str:
        labels = {LABEL_BUS: bus, LABEL_JOB: "forgotten", LABEL_REMOVE: "true", "dockbus.test": "1"}
        spec = ContainerSpec(
            name=f"dockbus-orphan-{bus}",
            image=base_image,
            command=["sleep", "600"],
            labels=labels,
            networks=[Network(name="none")],
        )
        made.append(engine.containers.create(spec))
        engine.containers.start(made[-1])
        return made[-1]

    yield leave
    for container in made:
        with suppress(ContainerNotFound):
            engine.containers.remove(container, force=True)


def test_what_ran_when_redis_was_emptied_is_another_bus_and_left_alone(
    bus: Bus, redis: Any, engine: Engine, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "GRACE", 0.0)
    theirs = left(bus.job_store.name())
    redis.flushdb()
    with Bus(bus.settings) as other:
        ours = left(other.job_store.name())

    orphans.remove_orphans(bus, engine)

    assert engine.containers.get(theirs).state == "running"
    assert engine.containers.find(ours) is None
