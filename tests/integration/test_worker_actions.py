"""Actions on containers of a real Engine: what becomes of the container, and that it becomes so once."""

from __future__ import annotations

import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest

from actions import SLOW, Launch, done, doomed, failure, has_lives, is_asked, said, target
from dockbus import (
    Bus,
    Exec,
    JobCanceled,
    Remove,
    Restart,
    Settings,
    Start,
    Stop,
)
from dockbus.engine import Container, Engine
from dockbus.jobs import ActionResult
from dockbus.settings import WorkerSettings
from processes import Program
from waiting import wait_for


@pytest.fixture
def worker(start: Launch, base_image: str) -> Program:
    program = start("worker", "container")
    program.wait_until_said("taking jobs")
    return program


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(update={"worker": WorkerSettings(heartbeat=3)})


# -- restart, stop, start, remove -------------------------------------------------------------


@pytest.mark.usefixtures("worker")
def test_a_container_is_restarted_once_and_the_result_tells_its_new_life(
    bus: Bus, engine: Engine
) -> None:
    with target(engine) as before:
        result = done(bus, Restart(container=before.name, timeout=5))
        now = engine.containers.get(before.id)

        assert now.state == "running"
        assert has_lives(engine, before.id, 2)
        assert before.started
        assert now.started
        assert now.started > before.started
        assert result.done
        assert (result.container_id, result.state, result.started) == (
            before.id,
            "running",
            now.started,
        )


@pytest.mark.usefixtures("worker")
def test_a_container_is_stopped_by_its_signal_or_killed_when_its_time_is_over(
    bus: Bus, engine: Engine
) -> None:
    with target(engine) as polite, target(engine, 'trap "" TERM; sleep 600') as stubborn:
        first = done(bus, Stop(container=polite.name))
        begun = time.monotonic()
        second = done(bus, Stop(container=stubborn.name, timeout=1))

        assert first.done
        assert second.done
        assert engine.containers.get(polite.id).exit_code == 7
        assert engine.containers.get(stubborn.id).exit_code == 137
        assert time.monotonic() - begun < 8, "the ten seconds of its own do not count"


@pytest.mark.usefixtures("worker")
def test_without_a_time_the_one_it_was_made_with_counts(bus: Bus, engine: Engine) -> None:
    with target(engine, 'trap "" TERM; sleep 600', stop_timeout=0) as made:
        begun = time.monotonic()
        done(bus, Stop(container=made.name))

        assert engine.containers.get(made.id).exit_code == 137
        assert time.monotonic() - begun < 5


@pytest.mark.usefixtures("worker")
def test_the_signal_can_be_chosen_where_the_engine_can_do_it(bus: Bus, engine: Engine) -> None:
    with target(engine, 'trap "exit 9" USR1; echo life; sleep 600 & wait') as made:
        job = bus.enqueue(Stop(container=made.name, signal="SIGUSR1", timeout=20))

        if tuple(map(int, engine.api.api_version.split("."))) < (1, 42):
            assert failure(job).startswith("signal-not-chosen: ")
            assert engine.containers.get(made.id).state == "running"
        else:
            job.wait(timeout=60)
            assert engine.containers.get(made.id).exit_code == 9


@pytest.mark.usefixtures("worker")
def test_a_container_that_does_not_run_is_started(bus: Bus, engine: Engine) -> None:
    with target(engine, start=False) as made:
        assert done(bus, Start(container=made.name)).done
        assert engine.containers.get(made.id).state == "running"

        again = done(bus, Start(container=made.name))

        assert (again.done, again.reason) == (False, "running")


@pytest.mark.usefixtures("worker")
def test_what_is_so_already_is_not_done(bus: Bus, engine: Engine) -> None:
    with target(engine, "exit 3") as made:
        wait_for(lambda: engine.containers.get(made.id).is_stopped)

        result = done(bus, Stop(container=made.name))

        assert (result.done, result.reason, result.state) == (False, "stopped", "exited")


@pytest.mark.usefixtures("worker")
def test_a_container_is_removed_and_one_that_runs_only_by_force(bus: Bus, engine: Engine) -> None:
    with target(engine) as made:
        assert failure(bus.enqueue(Remove(container=made.name))).startswith("engine-conflict: ")
        assert engine.containers.find(made.id)

        result = done(bus, Remove(container=made.name, force=True))

        assert result.done
        assert (result.container_id, result.state) == (made.id, None)
        assert engine.containers.find(made.id) is None


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("volumes", [False, True])
def test_its_anonymous_volumes_go_only_where_that_was_said(
    bus: Bus, engine: Engine, volumes: bool
) -> None:
    with target(engine, "true", volumes=["/data"], start=False) as made:
        (volume,) = made.volumes

        done(bus, Remove(container=made.name, volumes=volumes))

        assert (engine.volumes.find(volume) is None) == volumes
        if not volumes:
            engine.volumes.remove(volume)


# -- the container that is meant ---------------------------------------------------------------


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("spec", [Stop, Remove])
def test_a_container_that_is_gone_is_as_it_is_to_be(bus: Bus, spec: type[Stop | Remove]) -> None:
    result = done(bus, spec(container="act-test-nobody"))

    assert (result.done, result.reason, result.container_id) == (False, "gone", None)


@pytest.mark.usefixtures("worker")
def test_a_container_that_is_gone_can_neither_be_started_nor_run_a_command(bus: Bus) -> None:
    for spec in (
        Restart(container="act-test-nobody"),
        Start(container="act-test-nobody"),
        Exec(container="act-test-nobody", command=["true"]),
    ):
        assert failure(bus.enqueue(spec)).startswith("container-not-found: ")


@pytest.mark.usefixtures("worker")
def test_a_name_that_begins_like_a_strangers_id_does_not_mean_it(bus: Bus, engine: Engine) -> None:
    with target(engine, "true", start=False) as stranger:
        short = done(bus, Remove(container=stranger.id[:6], force=True))

        assert (short.done, short.reason) == (False, "gone")
        assert engine.containers.find(stranger.id)
        assert done(bus, Remove(container=stranger.id[:12])).done
        assert engine.containers.find(stranger.id) is None


@pytest.mark.usefixtures("worker")
def test_another_life_of_the_container_is_left_alone(bus: Bus, engine: Engine) -> None:
    with target(engine) as made:
        assert made.started
        for moment in (made.started - timedelta(microseconds=1), made.started + timedelta(hours=1)):
            result = done(bus, Restart(container=made.name, started=moment))
            assert (result.done, result.reason) == (False, "other-life")
        assert has_lives(engine, made.id, 1)

        assert done(bus, Restart(container=made.name, started=made.started)).done
        assert has_lives(engine, made.id, 2)


@pytest.mark.usefixtures("worker")
def test_a_condition_is_asked_of_the_container_and_not_of_its_labels(
    bus: Bus, engine: Engine
) -> None:
    # A label of the container's own takes the place of the exit code in the Engine's events.
    with target(engine, "exit 3", labels={"exitCode": "0", "shop": "web"}) as made:
        wait_for(lambda: engine.containers.get(made.id).is_stopped)

        job = bus.enqueue(Start(container=made.name, only_if="container.exit_code == 0"))
        result = job.wait(timeout=60)

        assert isinstance(result, ActionResult)
        assert (result.done, result.reason) == (False, "condition")
        assert "container.exit_code == 0 does not hold" in said(job)
        assert engine.containers.get(made.id).started == made.started
        holds = (
            "container.exit_code == 3 && container.labels.shop == 'web' && now > container.started"
        )
        assert done(bus, Start(container=made.name, only_if=holds)).done
        assert engine.containers.get(made.id).started != made.started


@pytest.mark.usefixtures("worker")
def test_a_condition_that_cannot_be_told_does_not_hold(bus: Bus, engine: Engine) -> None:
    with target(engine) as made:
        job = bus.enqueue(Stop(container=made.name, only_if="container.labels.shop == 'web'"))
        result = job.wait(timeout=60)

        assert isinstance(result, ActionResult)
        assert result.reason == "condition"
        assert "there is no 'shop'" in said(job)
        assert engine.containers.get(made.id).state == "running"


# -- once --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("base_image")
@pytest.mark.parametrize("die", ["claim:before:1", "claim:after:1", "handle:after:1"])
def test_a_worker_that_dies_before_or_after_it_has_restarted_a_container_restarts_it_once(
    bus: Bus, engine: Engine, start: Launch, quick: Settings, tmp_path: Path, die: str
) -> None:
    with target(engine) as made, doomed(quick, tmp_path, die) as process:
        job = bus.enqueue(
            Restart(
                container=made.name,
                started=made.started,
                only_if=f"container.started < timestamp('{_soon(made)}')",
            )
        )
        assert process.wait(timeout=60) == -signal.SIGKILL
        start("worker", "container", settings=quick)
        result = job.wait(timeout=60)

        assert isinstance(result, ActionResult)
        assert result.done
        assert job.refresh().attempts == 2
        assert has_lives(engine, made.id, 2)
        assert result.started == engine.containers.get(made.id).started
        left = bus.redis.keys("dockbus:acting:*")  # pyright: ignore[reportUnknownMemberType]
        assert left == []


def _soon(container: Container) -> str:
    assert container.started
    return (container.started + timedelta(microseconds=1)).isoformat()


@pytest.mark.usefixtures("base_image")
@pytest.mark.parametrize(("spec", "expected"), [(Restart, 2), (Stop, 1)])
def test_a_worker_killed_while_the_container_is_about_to_stop_does_it_once(
    bus: Bus,
    engine: Engine,
    start: Launch,
    quick: Settings,
    spec: type[Restart | Stop],
    expected: int,
) -> None:
    first = start("worker", "container", settings=quick)
    first.wait_until_said("taking jobs")
    with target(engine, SLOW) as made:
        job = bus.enqueue(
            spec(container=made.name, timeout=30, only_if="container.state == 'running'")
        )
        wait_for(lambda: spec.__name__.lower() in said(job), what="it to begin")
        wait_for(lambda: is_asked(engine, made.id), what="the Engine to carry it out")
        first.process.kill()
        start("worker", "container", settings=quick)
        result = job.wait(timeout=60)

        assert isinstance(result, ActionResult)
        assert result.done, result.reason
        assert job.refresh().attempts == 2
        assert has_lives(engine, made.id, expected)
        assert engine.containers.get(made.id).is_stopped == (spec is Stop)


@pytest.mark.usefixtures("worker")
def test_a_cancel_lets_go_and_the_engine_sees_it_through(bus: Bus, engine: Engine) -> None:
    with target(engine, SLOW) as made:
        job = bus.enqueue(Stop(container=made.name, timeout=30))
        wait_for(lambda: "stop: " in said(job), what="it to begin")

        job.cancel()
        with pytest.raises(JobCanceled):
            job.wait(timeout=60)

        assert "sees it through" in said(job)
        wait_for(lambda: engine.containers.get(made.id).is_stopped, what="its end")
        assert engine.containers.get(made.id).exit_code == 7
