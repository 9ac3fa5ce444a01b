"""docker-stack.yml for real: a Swarm of two machines, one of which is drained, updated and cut off, and no job is lost.

Not among the tests of `make test`: `make test-stack` takes minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from composed import standins
from composed.deployment import ENDED
from composed.stack import NAME, QUEUES, Stack, left
from composed.swarm import Machine, swarm
from dockbus.engine import Engine
from waiting import wait_for

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def stack(
    engine: Engine, base_image: str, scratch: Path, say: Callable[[str], None]
) -> Generator[Stack]:
    assert base_image
    standins.load(engine)
    say("stand-ins are there")
    with swarm(scratch / "swarm", "node-1", "node-2") as machines:
        say("a Swarm of two is there")
        (scratch / "stack").mkdir()
        stack = Stack(scratch / "stack", engine, machines)
        stack.give_images()
        say("images are everywhere")
        stack.deploy()
        say("all tasks run")
        yield stack
        stack.api.close()


@pytest.fixture
def first(stack: Stack) -> Machine:
    return stack.machines[0]


@pytest.fixture
def second(stack: Stack) -> Machine:
    return stack.machines[1]


def run(script: str) -> dict[str, Any]:
    command, networks = ["sh", "-c", script], [{"name": "none"}]
    return {"kind": "run", "image": "dockbus/base:1", "command": command, "networks": networks}


def codes(ended: list[dict[str, Any]]) -> set[tuple[str, int]]:
    """States and exit codes of jobs that have ended."""
    assert all(one["result"] for one in ended), ended
    return {(one["state"], one["result"]["exit_code"]) for one in ended}


def test_every_engine_has_its_workers_and_is_watched_and_measured(
    stack: Stack, first: Machine
) -> None:
    both = "of node-1, node-2"
    wait_for(lambda: stack.doctor(first)["watches"]["found"] == both, 60, "both watches")
    wait_for(lambda: stack.doctor(first)["metrics workers"]["found"] == both, 60, "both metrics")
    for queue in QUEUES:
        assert stack.queue(queue)["workers"] == 2
    assert stack.doctor(first)["workers"]["level"] == "ok"


def test_programs_are_confined(stack: Stack) -> None:
    for machine in stack.machines:
        label = f"label=com.docker.stack.namespace={NAME}"
        for container in machine.docker("ps", "--quiet", "--filter", label).split():
            form = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}"
            told = machine.docker("inspect", "--format", form, container).split()
            assert told[0].partition(":")[0] in ("10001", "redis"), told
            assert told[1:] == ["true", "[ALL]"]
            status = machine.docker("exec", container, "cat", "/proc/1/status")
            assert "NoNewPrivs:\t1" in status


def test_a_name_finds_every_task_of_a_service(stack: Stack, first: Machine) -> None:
    """So does Prometheus."""
    asked = "import socket; print(socket.gethostbyname_ex('worker-run')[2])"
    api = stack.task("api", first)

    said = first.docker("exec", api, "/opt/dockbus/bin/python", "-c", asked)

    assert said.count(".") == 6, said


def test_a_job_goes_to_the_engine_that_it_names(stack: Stack) -> None:
    jobs = {name: stack.order(run("true"), engine=name) for name in ("node-1", "node-2")}

    for name, job in jobs.items():
        (ended,) = stack.ended([job])
        assert codes([ended]) == {("succeeded", 0)}
        assert ended["engine"] == name


def test_a_rule_acts_on_the_engine_that_it_is_about(stack: Stack, second: Machine) -> None:
    plain = ["run", "--detach", "--network", "none", "--label", "dockbus.test.stack=swept"]
    container = second.docker(*plain, "dockbus/base:1", "true").strip()

    wait_for(lambda: container[:12] not in second.docker("ps", "--all", "--quiet"), 30, "its end")
    engines = {one["engine"] for one in stack.api.get("/v1/jobs").json() if one["kind"] == "remove"}
    assert engines == {"node-2"}


def test_a_node_that_is_drained_ends_its_jobs_first(stack: Stack, first: Machine) -> None:
    jobs = [stack.order(run("sleep 4")) for _ in range(12)]
    wait_for(lambda: on(stack, jobs, "node-2"), 30, "node-2 to have some")

    first.docker("node", "update", "--availability", "drain", "node-2")
    ended = stack.ended(jobs)
    wait_for(lambda: stack.queue("run")["workers"] == 1, 60, "its worker to leave")
    first.docker("node", "update", "--availability", "active", "node-2")

    assert codes(ended) == {("succeeded", 0)}
    assert {one["attempts"] for one in ended} == {1}
    assert {one["engine"] for one in ended} == {"node-1", "node-2"}
    stack.settled()


def on(stack: Stack, jobs: list[str], engine: str) -> list[str]:
    """Those that have a container on that Engine and have not ended."""
    return left(stack.records(jobs), lambda one: one["engine"] == engine)


def test_an_update_under_load_waits_for_jobs(stack: Stack, first: Machine) -> None:
    service, jobs = f"{NAME}_worker-run", list[str]()
    before = [stack.task("worker-run", machine) for machine in stack.machines]

    def updated() -> bool:
        jobs.extend(stack.order(run("sleep 2")) for _ in range(2))
        time.sleep(1)
        form = "{{with .UpdateStatus}}{{.State}}{{end}}"
        state = ("service", "inspect", "--format", form, service)
        return first.docker(*state).strip() == "completed"

    updated()
    first.docker("service", "update", "--detach", "--force", "--update-monitor", "5s", service)
    wait_for(updated, 240, "the update")
    ended = stack.ended(jobs)

    assert codes(ended) == {("succeeded", 0)}
    assert {one["attempts"] for one in ended} == {1}
    for machine, old in zip(stack.machines, before, strict=True):
        has = partial(stack.containers_of, "worker-run", machine)
        wait_for(lambda has=has, old=old: old not in has(), 60, f"{old} to end")  # type: ignore[misc]
        assert len(has()) == 1


def test_redis_comes_back_with_what_it_had(stack: Stack, first: Machine) -> None:
    jobs = [stack.order(run("sleep 3")) for _ in range(8)]
    wait_for(lambda: on(stack, jobs, "node-2"), 30, "them to begin")

    first.docker("kill", stack.task("redis", first))
    wait_for(lambda: stack.running()["redis"] == 0, what="Swarm to see it")
    stack.settled()

    assert codes(stack.ended(jobs)) == {("succeeded", 0)}


def test_a_node_that_dies_loses_no_job(stack: Stack, first: Machine, second: Machine) -> None:
    pinned = [stack.order(run("sleep 10"), engine="node-2")]  # in one of the two slots there
    wait_for(lambda: on(stack, pinned, "node-2"), 30, "it to begin")
    free = [stack.order(run("sleep 8")) for _ in range(8)]
    pinned += [stack.order(run("true"), engine="node-2") for _ in range(4)]
    wait_for(lambda: on(stack, free, "node-2"), 30, "one of them in the other")

    second.cut_power()

    # Those for any Engine end elsewhere; what had begun there is begun anew when the node has been away for long enough.
    begun = on(stack, free, "node-2")
    assert begun
    ended = stack.ended(free, 240)
    assert codes(ended) == {("succeeded", 0)}
    assert {one["engine"] for one in ended} >= {"node-1"}
    again = [one for one in ended if one["id"] in begun]
    assert {(one["engine"], one["attempts"]) for one in again} == {("node-1", 2)}

    # Those that name it wait, and it is seen for whom.
    wait_for(lambda: stack.queue("run@node-2")["workers"] == 0, 60, "its workers to be missed")
    queue = stack.queue("run@node-2")
    assert queue["queued"] + queue["started"] == len(pinned)
    check = stack.doctor(first)["workers"]
    assert check["level"] == "warning"
    assert f"run` beside Engine node-2, for which {len(pinned)} jobs wait" in check["advice"]
    assert not {one["state"] for one in stack.records(pinned).values()} & {*ENDED}
    wait_for(lambda: "Down" in first.docker("node", "ls"), 60, "Swarm to see it")

    second.boot()

    # What had begun there has ended with it; what had not is carried out; what was done elsewhere is removed.
    was_begun, *fresh = stack.ended(pinned, 180)
    assert {one["engine"] for one in (was_begun, *fresh)} == {"node-2"}
    assert codes(fresh) == {("succeeded", 0)}
    # What Docker says of a container that it has lost, where it had not ended.
    assert codes([was_begun]) <= {("succeeded", 0), ("succeeded", 255)}
    stack.settled()
    assert stack.doctor(first)["workers"]["level"] == "ok"
    for job in begun:
        filters = ("--all", "--quiet", "--filter", f"label=dockbus.job={job}")
        wait_for(lambda told=filters: not second.docker("ps", *told), 60, "the strays to go")  # type: ignore[misc]


def test_another_engine_under_its_name_does_what_had_begun_on_a_node_that_is_lost(
    stack: Stack, first: Machine, second: Machine
) -> None:
    job = stack.order(run("sleep 5"), engine="node-2")
    wait_for(lambda: on(stack, [job], "node-2"), 30, "it to begin")
    second.cut_power()

    told = ("--env", "DOCKBUS_ENGINE_NAME=node-2", "--env", "DOCKBUS_METRICS_OWN_PORT=0")
    worker = stack.task("worker-run", first)
    first.docker("exec", "--detach", *told, worker, "dockbus", "worker", "run")

    (ended,) = stack.ended([job], 180)
    assert codes([ended]) == {("succeeded", 0)}
    assert ended["attempts"] == 2
    second.boot()


def test_nothing_runs_after_it_is_removed(stack: Stack) -> None:
    stack.machines[0].docker("stack", "rm", NAME)

    label = f"label=com.docker.stack.namespace={NAME}"
    for machine in stack.machines:
        wait_for(
            lambda machine=machine: not machine.docker("ps", "-aq", "--filter", label),  # type: ignore[misc]
            90,
            f"the containers of {machine.name} to go",
        )
    assert stack.machines[0].docker("service", "ls", "--quiet") == ""
    assert stack.machines[0].docker("secret", "ls", "--quiet") == ""
