"""Which containers actions may be done to: whose they are, what they carry, and what they reach."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest

from actions import STAY, Launch, done, failure, has_lives, run_command, target
from dockbus import (
    Bus,
    Exec,
    JobCanceled,
    Remove,
    Restart,
    Run,
    Settings,
    Stop,
)
from dockbus.engine import Engine
from dockbus.settings import PolicySettings
from processes import Program
from waiting import wait_for


@pytest.fixture
def worker(start: Launch, base_image: str) -> Program:
    program = start("worker", "container")
    program.wait_until_said("taking jobs")
    return program


def with_policy(settings: Settings, folder: Path, text: str) -> Settings:
    (folder / "policy.yaml").write_text(text)
    path = str(folder / "policy.yaml")
    return settings.model_copy(update={"policy": PolicySettings(path=path)})


@pytest.mark.usefixtures("worker")
def test_the_container_of_a_job_that_runs_is_left_to_that_job(
    bus: Bus, engine: Engine, start: Launch
) -> None:
    start("worker", "run")
    job = bus.enqueue(
        Run(
            image="dockbus/base:1",
            command=["sh", "-c", "sleep 600"],
            labels={"dockbus.test": "1"},
            networks=["none"],  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
            stop_timeout=0,
        )
    )
    name = f"dockbus-{job.id}"
    wait_for(lambda: (it := engine.containers.find(name)) and it.pid, what="it to run")

    for spec in (
        Stop(container=name),
        Remove(container=name, force=True),
        Exec(container=name, command=["true"]),
    ):
        error = failure(bus.enqueue(spec))
        assert error.startswith("policy-refused: ")
        assert f"rule job-container: container: it is that of job {job.id}" in error

    assert engine.containers.get(name).state == "running"
    job.cancel()
    with pytest.raises(JobCanceled):
        job.wait(timeout=60)


@pytest.mark.usefixtures("worker")
def test_a_service_whose_job_has_succeeded_may_be_acted_on(
    bus: Bus, engine: Engine, start: Launch
) -> None:
    start("worker", "run")
    name = f"act-test-{secrets.token_hex(4)}"
    up = bus.enqueue(
        Run(
            image="dockbus/base:1",
            command=["sh", "-c", STAY],
            mode="service",
            name=name,
            labels={"dockbus.test": "1"},
            networks=["none"],  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
        )
    )
    up.wait(timeout=60)
    try:
        assert done(bus, Restart(container=name)).done
        assert run_command(bus, engine.containers.get(name), "exit 5")[1].exit_code == 5
    finally:
        engine.containers.remove(name, force=True)


@pytest.mark.usefixtures("worker")
def test_a_container_that_is_to_be_kept_is_not_removed_but_may_be_restarted(
    bus: Bus, engine: Engine
) -> None:
    with target(engine, labels={"dockbus.keep": "true"}) as made:
        error = failure(bus.enqueue(Remove(container=made.name, force=True)))

        assert "rule kept-container" in error
        assert done(bus, Restart(container=made.name)).done
        assert has_lives(engine, made.id, 2)


@pytest.mark.usefixtures("base_image")
def test_actions_can_be_confined_to_containers_with_a_label_and_forbidden(
    bus: Bus, engine: Engine, start: Launch, settings: Settings, tmp_path: Path
) -> None:
    text = "actions: {only_labelled: {dockbus.test.act: ''}, forbid: [exec]}"
    start("worker", "container", settings=with_policy(settings, tmp_path, text))
    with target(engine) as closed, target(engine, labels={"dockbus.test.act": "yes"}) as opened:
        error = failure(bus.enqueue(Stop(container=closed.name)))
        forbidden = failure(bus.enqueue(Exec(container=opened.name, command=["true"])))

        assert (
            "rule unlabelled-target: container: it does not carry the label dockbus.test.act"
            in error
        )
        assert "rule forbidden-action: kind: exec is not allowed" in forbidden
        assert engine.containers.get(closed.id).state == "running"
        assert done(bus, Stop(container=opened.name)).done


@pytest.mark.usefixtures("base_image")
def test_a_command_is_not_run_where_it_would_reach_the_machine(
    bus: Bus, engine: Engine, start: Launch, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "shop").mkdir()
    text = f"allow: {{bind_mounts: [{{path: {tmp_path}/shop, read_only: true}}]}}"
    start("worker", "container", settings=with_policy(settings, tmp_path, text))
    reaching: dict[str, dict[str, Any]] = {
        "host-path": {"volumes": [f"{tmp_path}:/data:ro"]},
        "engine-socket": {"volumes": ["/run:/data:ro"]},
        "host-network": {"networks": ["host"]},
        "host-pid": {"pid_mode": "host"},
        "capability": {"cap_add": ["SYS_ADMIN"]},
        "device": {"devices": ["/dev/null:/dev/x"]},
        "seccomp-unconfined": {"seccomp": "unconfined"},
    }
    for rule, fields in reaching.items():
        with target(engine, STAY, **fields) as made:
            error = failure(bus.enqueue(Exec(container=made.name, command=["true"])))
            assert f"rule exec-reach: container: {rule}: " in error
            assert done(bus, Stop(container=made.name)).done, "whoever made it may have it stopped"
    with target(engine, STAY, volumes=[f"{tmp_path}/shop:/data:ro"]) as made:
        assert run_command(bus, made, "exit 6")[1].exit_code == 6
