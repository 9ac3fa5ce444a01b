"""What a scaler does with the containers of a Compose service, on a real Engine.

A shell that sleeps stands in for each worker, and what its worker would say of itself in Redis is written by the test.
"""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Generator

import pytest

from dockbus import Bus
from dockbus.engine import ContainerSpec, Engine
from dockbus.tally import Tally
from dockbus_workers.scaling.compose import COPIED, NUMBER, ONEOFF, PROJECT, SERVICE
from scaled import SHELL, containers, controller, running, told, works
from waiting import wait_for

Replicas = Callable[..., str]


@pytest.fixture
def project() -> str:
    return f"scale-{secrets.token_hex(3)}"


@pytest.fixture
def replica(engine: Engine, base_image: str, project: str) -> Generator[Replicas]:
    """Makes a container as Compose would, in which nothing works; returns its ID."""

    def make(number: int, *, start: bool = True, **labels: str) -> str:
        compose = {PROJECT: project, SERVICE: "worker", ONEOFF: "False", NUMBER: str(number)}
        spec = ContainerSpec.model_validate(
            {
                "name": f"{project}-worker-{number}",
                "image": "dockbus/base:1",
                "command": SHELL,
                "labels": {"dockbus.test": "1"} | compose | labels,
                "networks": "none",
            }
        )
        made = engine.containers.create(spec)
        if start:
            engine.containers.start(made)
        return made

    yield make
    for each in containers(engine, project):
        engine.containers.remove(each.id, force=True)


def test_only_workers_that_do_nothing_leave_first_the_silent_then_the_newest(
    replica: Replicas, bus: Bus, engine: Engine, project: str
) -> None:
    made = [replica(number) for number in (1, 2, 3, 4)]
    for container, state in zip(made[1:], ("idle", "busy", "idle"), strict=True):
        works(bus, container, state)
    scaler = controller(bus, engine, project, min=2)

    scaler.reconcile()
    scaler.reconcile()
    wait_for(lambda: len(containers(engine, project)) == 2)
    scaler.reconcile()

    assert {it.id for it in containers(engine, project)} == {made[1], made[2]}
    assert [(it["what"], it["from"], it["to"]) for it in told(bus)] == [("in", 4, 2)]
    counted = Tally(bus.redis).read()["dockbus_scaler_decisions_total"]
    assert [(it.labels["direction"], it.value) for it in counted] == [("in", 1)]


def test_busy_ones_are_waited_for(
    replica: Replicas, bus: Bus, engine: Engine, project: str
) -> None:
    made = [replica(number) for number in (1, 2)]
    for container in made:
        works(bus, container, "busy")
    scaler = controller(bus, engine, project)

    for _ in range(3):
        scaler.reconcile()

    assert len(running(engine, project)) == 2
    assert bus.redis.smembers("dockbus:scaler:leaving:local") == set()
    works(bus, made[1], "idle")
    scaler.reconcile()
    wait_for(lambda: [it.id for it in containers(engine, project)] == made[:1])


def test_what_a_scaler_left_half_done_is_seen_through_by_the_next(
    replica: Replicas, bus: Bus, engine: Engine, project: str
) -> None:
    stays, was_leaving = replica(1), replica(2)
    replica(3, start=False, **{COPIED: "1"})  # made, and never started
    bus.redis.sadd("dockbus:scaler:leaving:local", was_leaving)

    controller(bus, engine, project).reconcile()

    wait_for(lambda: [it.id for it in containers(engine, project)] == [stays])
    wait_for(lambda: not bus.redis.exists("dockbus:scaler:leaving:local"))


def test_two_scalers_that_both_believe_to_lead_make_no_more_than_one_would(
    replica: Replicas, bus: Bus, engine: Engine, project: str
) -> None:
    replica(1)
    scalers = [controller(bus, engine, project, min=3) for _ in range(2)]

    def round_by_both() -> None:
        threads = [threading.Thread(target=it.reconcile) for it in scalers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(running(engine, project)) <= 3

    def settled() -> bool:
        round_by_both()
        return len(containers(engine, project)) == len(running(engine, project)) == 3

    wait_for(settled, what="three workers")
    round_by_both()
    assert settled()


def test_a_dry_run_decides_and_tells_and_does_nothing(
    replica: Replicas, bus: Bus, engine: Engine, project: str
) -> None:
    replica(1)
    half = replica(2, start=False, **{COPIED: "1"})
    scaler = controller(bus, engine, project, min=3, dry_run=True)

    scaler.reconcile()
    scaler.reconcile()

    assert half in {it.id for it in containers(engine, project)}
    assert len(containers(engine, project)) == 2
    assert [(it["from"], it["to"], it["dryRun"]) for it in told(bus)] == [(1, 3, True)]
    assert "dockbus_scaler_decisions_total" not in Tally(bus.redis).read()


def test_what_cannot_be_made_is_told_once_and_made_as_soon_as_it_can_be(
    replica: Replicas, bus: Bus, engine: Engine, project: str
) -> None:
    replica(1)
    in_the_way = replica(2, **{SERVICE: "other"})  # it has the name that the next one is to have
    scaler = controller(bus, engine, project, min=2)

    for _ in range(3):
        scaler.reconcile()

    failed = [it for it in told(bus) if it["what"] == "failed"]
    assert [it["error"]["code"] for it in failed] == ["engine-conflict"]
    engine.containers.remove(in_the_way, force=True)
    scaler.reconcile()
    assert running(engine, project) == [f"{project}-worker-1", f"{project}-worker-2"]


def test_a_service_that_somebody_has_stopped_stays_stopped(
    replica: Replicas, bus: Bus, engine: Engine, project: str
) -> None:
    replica(1, start=False)

    controller(bus, engine, project, min=2).reconcile()

    assert [it.state for it in containers(engine, project)] == ["created"]
    assert told(bus) == []


def test_a_worker_that_somebody_has_stopped_keeps_its_place(
    replica: Replicas, bus: Bus, engine: Engine, project: str
) -> None:
    replica(1)
    stopped = replica(2)
    engine.containers.stop(stopped, timeout=10)

    controller(bus, engine, project, min=3).reconcile()

    assert running(engine, project) == [f"{project}-worker-1", f"{project}-worker-3"]
    assert engine.containers.get(stopped).state == "exited"
