"""Scaling a service of a Swarm: a real one of a single node, on an Engine of the test's own.

A shell that sleeps stands in for each worker, and what its worker would say of itself in Redis is written by the test.
"""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dockbus import Bus, local
from dockbus.engine import Engine, ServiceView
from dockbus.settings import EngineSettings
from e2e.chaos.services import engine_server
from scaled import SHELL, controller, told, works
from waiting import wait_for

NAME = "stack_worker"


@pytest.fixture(scope="module")
def manager() -> Generator[Engine]:
    with (
        tempfile.TemporaryDirectory(prefix="dkb-") as folder,
        engine_server(Path(folder) / "engine") as server,
        closing(Engine(EngineSettings(host=server.host))) as engine,
    ):
        local.base_image(engine, Path(folder), lambda _: None)
        pid = (Path(folder) / "engine" / "docker.pid").read_text()
        inside = ["nsenter", f"--net=/proc/{pid}/ns/net"]
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        engine.api.init_swarm("127.0.0.1", "127.0.0.1:2377")
        yield engine
        engine.api.leave_swarm(force=True)


@pytest.fixture
def service(manager: Engine) -> Generator[Callable[[], ServiceView]]:
    """A service with one task; what it returns looks at it."""
    task = {"ContainerSpec": {"Image": "dockbus/base:1", "Command": SHELL}}
    made: dict[str, Any] = manager.api.create_service(task, name=NAME)

    def look() -> ServiceView:
        found = manager.services.find(NAME)
        assert found is not None
        return found

    wait_for(lambda: len(manager.services.running(look().id)) == 1, what="its first task")
    yield look
    manager.api.remove_service(made["ID"])


def test_a_service_gets_tasks_and_loses_them_when_all_are_idle(
    service: Callable[[], ServiceView], manager: Engine, bus: Bus
) -> None:
    before = service()
    (first,) = manager.services.running(before.id)
    assert manager.containers.inspect(first)["Config"]["Hostname"] == first[:12]

    controller(bus, manager, "stack", min=3).reconcile()

    def tasks() -> list[str]:
        return manager.services.running(before.id)

    wait_for(lambda: len(tasks()) == 3, what="three tasks")
    assert first in tasks()  # and was not made anew
    assert service().spec["TaskTemplate"] == before.spec["TaskTemplate"]

    scaler = controller(bus, manager, "stack")
    scaler.reconcile()
    assert (
        service().replicas == 3
    )  # nobody knows whether those that are not on the bus do something
    for container in tasks():
        works(bus, container, "idle")
    busy = tasks()[1]
    works(bus, busy, "busy")
    scaler.reconcile()
    assert service().replicas == 3  # the Swarm would choose, and might choose the busy one

    works(bus, busy, "idle")
    scaler.reconcile()
    assert service().replicas == 1
    wait_for(lambda: len(tasks()) == 1, what="one task")
    assert [(it["what"], it["from"], it["to"]) for it in told(bus)] == [
        ("out", 1, 3),
        ("in", 3, 1),
    ]


def test_a_service_that_somebody_has_stopped_or_that_is_not_there_stays_so(
    service: Callable[[], ServiceView], manager: Engine, bus: Bus
) -> None:
    manager.services.scale(service(), 0)

    controller(bus, manager, "stack", min=2).reconcile()
    controller(bus, manager, "stac", min=2).reconcile()

    assert service().replicas == 0
    assert told(bus) == []
