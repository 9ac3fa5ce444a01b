"""Two real Engines on one bus: each event says where it comes from, and what a rule orders is done there and nowhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from dockbus import Bus, Event, JobHandle, JobRecord, JobState, QueueRecord, Settings, local
from dockbus.engine import ContainerNotFound, ContainerSpec, Engine
from dockbus.jobs import LABEL_JOB
from dockbus.jobs.actions import ActionResult
from dockbus.jobs.running import Network
from dockbus.settings import EngineSettings
from e2e.chaos.services import engine_server
from outage import Plug
from processes import Program
from runs import result, shell
from waiting import wait_for

LIFE = ["create", "start", "die", "destroy"]
RULE = """
rules:
  - name: sweep
    on: io.dockbus.docker.container.die
    where: {labels: {dockbus.two-engines: "%s"}}
    do: {kind: remove}
"""

Start = Callable[..., Program]


@dataclass
class Side:
    """One Engine, by its name on the bus."""

    engine: Engine
    settings: Settings

    @property
    def name(self) -> str:
        return self.engine.name

    def live(self, mark: str, code: int) -> str:
        """A container that ends with this code; its ID."""
        container = self.engine.containers.create(
            ContainerSpec(
                name=f"two-{mark}-{code}",  # the same on both
                image="dockbus/base:1",
                command=["sh", "-c", f"exit {code}"],
                networks=[Network(name="none")],
                labels={"dockbus.test": "1", "dockbus.two-engines": mark},
            )
        )
        self.engine.containers.start(container)
        return container

    def has(self, container: str) -> bool:
        """Whether it is there."""
        try:
            self.engine.containers.get(container)
        except ContainerNotFound:
            return False
        return True


@pytest.fixture
def sides(
    settings: Settings, base_image: str, scratch: Path, tmp_path: Path
) -> Generator[tuple[Side, Side]]:
    """The session's Engine and another one."""

    def side(name: str, host: str) -> Side:
        told = EngineSettings(name=name, host=host)
        return Side(Engine(told), settings.model_copy(update={"engine": told}))

    with engine_server(scratch / "second-engine") as server:
        first, second = side("first", settings.engine.host), side("second", server.host)
        with closing(first.engine), closing(second.engine):
            local.base_image(second.engine, tmp_path, lambda _: None)
            yield first, second


@pytest.fixture
def mark(sides: tuple[Side, Side]) -> Generator[str]:
    """What the label of this test's containers says; what is left of them is removed."""
    mark = token_hex(4)
    yield mark
    for side in sides:
        for one in side.engine.containers.all(labels={"dockbus.two-engines": mark}):
            side.engine.containers.remove(one.id, force=True)


def about(bus: Bus, container: str) -> list[Event]:
    return [
        stored.event
        for stored in bus.events(since="0", follow=False)
        if stored.event.subject == container
        and stored.event.type.rpartition(".")[2] in LIFE
        and stored.event.type.startswith("io.dockbus.docker.container.")
    ]


def whole_life(bus: Bus, container: str) -> list[Event]:
    """What was told of it, once it has gone."""
    told = about(bus, container)
    return told if told and told[-1].data["action"] == "destroy" else []


def job_of(bus: Bus) -> dict[str, JobRecord]:
    """The jobs, by the container that each is about."""
    return {str(job.spec.container): job for job in bus.jobs() if job.spec}  # type: ignore[union-attr]


def test_what_happens_on_an_engine_is_told_once_and_answered_there(
    sides: tuple[Side, Side],
    bus: Bus,
    start: Start,
    settings: Settings,
    tmp_path: Path,
    mark: str,
) -> None:
    first, second = sides
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULE % mark)
    for side in (first, first, second):
        watch = side.settings.watch.model_copy(update={"rules": str(rules)})
        start("watch", settings=side.settings.model_copy(update={"watch": watch}))
    wait_for(
        lambda: [one.name for one in bus.snapshot.engines() if one.resynced] == ["first", "second"],
        what="the first look at both",
    )

    codes = (0, 3, 5)
    there = {side.name: {side.live(mark, code): code for code in codes} for side in sides}
    wait_for(lambda: len(job_of(bus)) == 2 * len(codes), what="a job for each")
    jobs = job_of(bus)

    for side in sides:
        for container in there[side.name]:
            assert jobs[container].queue == f"container@{side.name}"

    # Only one Engine has a worker: the jobs of the other wait.
    start("worker", "container", settings=second.settings).wait_until_said("taking jobs")
    wait_for(
        lambda: all(job_of(bus)[one].state.ended for one in there["second"]), what="its own jobs"
    )
    assert {job_of(bus)[one].state for one in there["first"]} == {JobState.QUEUED}
    assert not any(map(second.has, there["second"]))
    assert all(map(first.has, there["first"]))

    start("worker", "container", settings=first.settings).wait_until_said("taking jobs")
    wait_for(lambda: all(job.state.ended for job in job_of(bus).values()), what="the other jobs")
    ended = job_of(bus)
    assert not any(map(first.has, there["first"]))
    for job in ended.values():
        assert job.state is JobState.SUCCEEDED
        assert isinstance(job.result, ActionResult)
        assert job.result.done

    for side in sides:
        for container, code in there[side.name].items():
            told = wait_for(partial(whole_life, bus, container), what="its removal")
            assert ended[container].engine == side.name
            assert [event.data["action"] for event in told] == LIFE
            assert told[2].data["exitCode"] == code
            assert {event.source for event in told} == {f"/engines/{side.name}"}
            assert {str(event.data["engineId"]) for event in told} == {side.engine.id}
    events = [stored.event for stored in bus.events(since="0", follow=False)]
    assert max(Counter((event.source, event.id) for event in events).values()) == 1
    fired = [event.data for event in events if event.type == "io.dockbus.rule.fired"]
    assert Counter(one["eventSubject"] for one in fired) == dict.fromkeys(ended, 1)


def test_what_had_begun_on_an_engine_that_is_lost_begins_anew_on_the_other(
    sides: tuple[Side, Side], bus: Bus, start: Start, redis: Any
) -> None:
    """Lost as a node is that is cut off: what it runs runs on, and nobody hears of it."""
    first, second = sides

    def worker(side: Side) -> Program:
        patience = side.settings.worker.model_copy(update={"engine_lost": 5.0})
        told = side.settings.model_copy(update={"worker": patience})
        program = start("worker", "run", settings=told)
        program.wait_until_said("taking jobs")
        return program

    def containers(side: Side, job: JobHandle) -> list[str]:
        return [one.id for one in side.engine.containers.all(labels={LABEL_JOB: job.id})]

    sleeps = shell("sleep 3", stop_timeout=0)
    lost = worker(second)
    free = bus.enqueue(sleeps)
    pinned = bus.enqueue(sleeps, engine="second")
    wait_for(lambda: len(containers(second, free) + containers(second, pinned)) == 2, what="both")
    lost.process.kill()
    lost.process.wait()
    redis.delete("dockbus:engine:second")  # as it expires, a minute later

    here = worker(first)
    ended = result(free)
    assert (ended.exit_code, free.refresh().engine) == (0, "first")
    assert free.refresh().attempts == 2
    assert here.said(f"job {free.id}: Engine second has been lost")
    assert pinned.state is JobState.QUEUED
    assert queue_of(bus, "run@second").queued == 1
    assert len(containers(second, free)) == 1

    # It comes back: what was done elsewhere is removed, what waited goes on.
    worker(second)
    assert result(pinned).exit_code == 0
    assert pinned.refresh().engine == "second"
    wait_for(lambda: not containers(second, free), what="the stray to go")


def queue_of(bus: Bus, name: str) -> QueueRecord:
    return next(queue for queue in bus.queues() if queue.name == name)


def test_another_engine_at_the_same_address_is_told_from_the_one_before(
    sides: tuple[Side, Side],
) -> None:
    sockets = [side.engine.host.removeprefix("unix://") for side in sides]
    with (
        Plug(sockets[0]) as plug,
        closing(Engine(EngineSettings(host=f"tcp://127.0.0.1:{plug.port}"))) as engine,
    ):
        found = [engine.check(10)]
        plug.lead_to(sockets[1])
        plug.pull()
        plug.put_back()
        found += [engine.check(10), engine.check(10)]

    first, second = (side.engine.id for side in sides)
    assert found == [first, second, second]
