"""Services: started and left running, waited for until they are well, and cleared away where they never are."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Generator
from contextlib import suppress

import pytest

from dockbus import Bus, JobState
from dockbus.engine import Engine
from dockbus.jobs import LABEL_BUS
from processes import Program
from runs import failure, no_container, output, result, service
from waiting import wait_for

Start = Callable[..., Program]
QUICK = {"interval": "100ms", "timeout": "1s", "retries": 2}


@pytest.fixture(autouse=True)
def worker(start: Start, base_image: str, bus: Bus, engine: Engine) -> Generator[Program]:
    program = start("worker", "run")
    program.wait_until_said("taking jobs")
    yield program
    for left in engine.containers.all(labels={LABEL_BUS: bus.job_store.name()}):
        engine.containers.remove(left.id, force=True)


def test_the_job_ends_when_the_service_is_started_and_leaves_it_running(
    bus: Bus, engine: Engine
) -> None:
    name = f"run-test-{secrets.token_hex(4)}"
    spec = service("sleep 600", name=name, restart="unless-stopped", networks=["dockbus"])

    job = bus.enqueue(spec)
    up = result(job)

    assert (up.exit_code, up.health, up.usage) == (None, None, None)
    it = engine.containers.inspect(name)
    assert it["Id"] == up.container_id
    assert it["State"]["Running"]
    assert it["HostConfig"]["RestartPolicy"] == {"Name": "unless-stopped", "MaximumRetryCount": 0}


def test_its_ports_are_open_on_loopback_and_the_result_names_them(bus: Bus) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        wanted = free.getsockname()[1]
    script = "while :; do echo here | nc -l -p 80; done"
    spec = service(script, networks=["dockbus"], ports=["80", f"{wanted}:53/udp"])

    up = result(bus.enqueue(spec))

    ports = {(port.container, port.protocol): port for port in up.ports}
    assert ports[53, "udp"].host == wanted
    assert {port.address for port in up.ports} == {"127.0.0.1"}

    def answer() -> bytes:
        place = ("127.0.0.1", ports[80, "tcp"].host)
        with suppress(OSError), socket.create_connection(place, timeout=5) as client:
            return client.recv(100)
        return b""

    assert wait_for(answer, what="an answer") == b"here\n"


def test_a_port_that_is_taken_fails_the_job_and_leaves_nothing(bus: Bus, engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        job = bus.enqueue(service("sleep 600", networks=["dockbus"], ports=[f"{port}:80"]))

        assert "address already in use" in failure(job)
    assert no_container(engine, job)


def test_it_is_waited_for_until_it_is_well(bus: Bus) -> None:
    check = {"test": "test -e /tmp/up", **QUICK, "retries": 100}
    script = "sleep 1; touch /tmp/up; sleep 600"

    job = bus.enqueue(service(script, healthcheck=check, wait_healthy=30))
    up = result(job)

    assert up.health == "healthy"
    assert up.duration == 0 or up.duration > 0.5


def test_one_that_is_not_well_fails_the_job_with_what_its_probe_and_it_said(
    bus: Bus, engine: Engine
) -> None:
    check = {"test": "echo no connection; false", **QUICK}

    job = bus.enqueue(service("echo starting; sleep 600", healthcheck=check, wait_healthy=30))

    told = failure(job)
    assert told.startswith("service-failed: ")
    assert "it is unhealthy; the last probe said: no connection" in told
    assert output(job) == ["starting"]
    assert no_container(engine, job)


def test_one_that_ends_before_it_is_well_fails_the_job(bus: Bus, engine: Engine) -> None:
    check = {"test": "false", **QUICK, "retries": 1000}
    script = "echo cannot open the database >&2; exit 3"

    job = bus.enqueue(service(script, healthcheck=check, wait_healthy=30))

    assert "it ended with exit code 3" in failure(job)
    assert output(job, "stderr") == ["cannot open the database"]
    assert no_container(engine, job)


def test_one_that_is_not_well_in_time_fails_the_job(bus: Bus, engine: Engine) -> None:
    check = {"test": "echo warming up; false", **QUICK, "start_period": "1h"}

    job = bus.enqueue(service("sleep 600", healthcheck=check, wait_healthy=1))

    assert "it was not healthy within 1.0 s; the last probe said: warming up" in failure(job)
    assert no_container(engine, job)


def test_one_that_nobody_probes_cannot_be_waited_for(bus: Bus, engine: Engine) -> None:
    job = bus.enqueue(service("sleep 600", wait_healthy=30))

    assert failure(job).startswith("no-healthcheck: ")
    assert no_container(engine, job)


def test_one_that_failed_stays_stopped_where_the_job_says_so(bus: Bus, engine: Engine) -> None:
    job = bus.enqueue(
        service("exit 4", wait_healthy=10, remove=False, healthcheck={"test": "true"})
    )

    failure(job)

    left = engine.containers.get(f"dockbus-{job.id}")
    assert (left.state, left.exit_code) == ("exited", 4)


def test_the_engine_starts_it_again_as_its_policy_says(bus: Bus, engine: Engine) -> None:
    job = bus.enqueue(service("sleep 1; exit 1", restart="on-failure:2"))

    made = result(job).container_id

    wait_for(lambda: engine.containers.inspect(made)["RestartCount"] == 2, what="two restarts")
    wait_for(lambda: engine.containers.get(made).state == "exited", what="it to be given up")


def test_a_killed_worker_does_not_start_it_twice(
    bus: Bus, engine: Engine, start: Start, worker: Program
) -> None:
    check = {"test": "test -e /tmp/up", **QUICK, "retries": 1000}
    script = "sleep 15; touch /tmp/up; sleep 600"
    job = bus.enqueue(service(script, healthcheck=check, wait_healthy=60))
    made = wait_for(lambda: engine.containers.find(f"dockbus-{job.id}"), what="it to be made")
    wait_for(lambda: engine.containers.get(made.id).state == "running", what="it to run")
    worker.process.kill()
    worker.process.wait()

    start("worker", "run")

    up = result(job)
    assert (up.container_id, up.health) == (made.id, "healthy")
    assert job.refresh().attempts >= 2
    assert job.state is JobState.SUCCEEDED
