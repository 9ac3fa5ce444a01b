"""Rules, producer and worker together, against a real Engine: what was broken is mended, and what cannot be is left."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex

import pytest

from dockbus import Bus, Event, JobRecord, Settings
from dockbus.engine import ContainerSpec, Engine
from dockbus.jobs.actions import ActionResult
from dockbus.jobs.running import Healthcheck, Network
from processes import Program
from waiting import wait_for

HEAL = """
rules:
  - name: heal
    state: container.health == 'unhealthy'
    where: {labels: {dockbus.heal: "%s"}}
    do: {kind: restart, timeout: 1s}
"""
RESTART = """
rules:
  - name: crashed
    state: container.state == 'exited' && container.exit_code == 3
    where: {labels: {dockbus.restart: "%s"}}
    cooldown: 0
    limit: {count: 3, per: 1h, then: suspend}
    do: {kind: start}
"""
LIVES = "echo life >> /lives; exec sleep 1000"
SECOND_LIFE = ["sh", "-c", "test $(wc -l < /lives) -ge 2"]


@contextmanager
def labelled(
    engine: Engine, label: str, script: str, check: Healthcheck | None = None
) -> Generator[str]:
    """A container that runs this script, with a label that is its own."""
    name, _, value = label.partition("=")
    made = engine.containers.create(
        ContainerSpec(
            name=f"rule-{token_hex(4)}",
            image="dockbus/base:1",
            labels={"dockbus.test": "1", name: value},
            command=["sh", "-c", script],
            healthcheck=check,
            networks=[Network(name="none")],
        )
    )
    try:
        engine.containers.start(made)
        yield made
    finally:
        engine.containers.remove(made, force=True)


@pytest.fixture
def watching(
    start: Callable[..., Program], settings: Settings, tmp_path: Path
) -> Callable[[str], Program]:
    """Starts the producer with these rules, and a worker for what they order."""

    def run(rules: str) -> Program:
        file = tmp_path / "rules.yaml"
        file.write_text(rules)
        watch = settings.watch.model_copy(update={"rules": str(file)})
        start("worker", "container").wait_until_said("taking jobs")
        return start("watch", settings=settings.model_copy(update={"watch": watch}))

    return run


def told(bus: Bus, what: str) -> list[Event]:
    wanted = f"io.dockbus.rule.{what}"
    return [one.event for one in bus.events(since="0", follow=False) if one.event.type == wanted]


def ended(bus: Bus) -> list[JobRecord]:
    return [job for job in bus.jobs() if job.state.ended]


def test_a_container_that_was_unhealthy_before_anybody_watched_is_healed(
    engine: Engine, base_image: str, bus: Bus, watching: Callable[[str], Program]
) -> None:
    mark = token_hex(4)
    check = Healthcheck(test=SECOND_LIFE, interval=1.0, retries=1)
    with labelled(engine, f"dockbus.heal={mark}", LIVES, check) as container:
        wait_for(lambda: engine.containers.get(container).health == "unhealthy", what="the illness")
        first = engine.containers.get(container).started
        watching(HEAL % mark)
        wait_for(lambda: engine.containers.get(container).health == "healthy", what="the cure")
        assert engine.containers.get(container).started != first
        (job,) = wait_for(lambda: ended(bus), what="the end of the job")
    assert isinstance(job.result, ActionResult)
    assert job.result.done
    assert [event.data["job"] for event in told(bus, "fired")] == [job.id]


def test_a_crash_loop_ends_in_one_notice_and_no_storm(
    engine: Engine, base_image: str, bus: Bus, watching: Callable[[str], Program]
) -> None:
    mark = token_hex(4)
    with labelled(engine, f"dockbus.restart={mark}", "echo life >> /lives; exit 3") as container:
        watching(RESTART % mark)
        (suspended,) = wait_for(lambda: told(bus, "suspended"), 60.0, "the notice")
        assert engine.containers.get(container).state == "exited"
    assert suspended.data["object"] == f"{bus.settings.engine.name}/{container}"
    assert suspended.data["count"] == 3
    results = [job.result for job in bus.jobs()]
    assert len(results) == 3
    assert all(isinstance(result, ActionResult) and result.done for result in results)


RECONCILE = """
rules:
  - name: reconcile
    on: io.dockbus.docker.container.start
    where: {labels: {dockbus.reconcile: "%s"}}
    dedup: {key: "${engine}", conflict: requeue}
    do: {kind: exec, container: "%s", command: [sh, -c, "echo run >> /runs; sleep 3"]}
"""


def test_events_while_a_reconciliation_runs_make_it_run_once_more(
    engine: Engine, base_image: str, bus: Bus, watching: Callable[[str], Program]
) -> None:
    mark = token_hex(4)
    with labelled(engine, f"dockbus.target={mark}", "sleep 1000") as target:
        watch = watching(RECONCILE % (mark, target))
        watch.wait_until_said("watching Engine")
        wait_for(lambda: bus.snapshot.container(engine.name, target), what="the snapshot")
        with ExitStack() as changes:

            def change() -> None:
                made = labelled(engine, f"dockbus.reconcile={mark}", "sleep 1000")
                changes.enter_context(made)

            change()
            wait_for(lambda: [job for job in bus.jobs() if job.started], what="the first run")
            for _ in range(3):
                change()
            wait_for(lambda: len(ended(bus)) == 2, what="the second run")
        assert all(isinstance(job.result, ActionResult) and job.result.done for job in bus.jobs())
        assert len(bus.jobs()) == 2
