"""docker-compose.yml for real: images built, all healthy, jobs of every kind, scaled, killed, and gone without a trace.

It has an Engine of its own, and takes minutes: `make test-compose` runs it alone.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import missing
import registries
from composed import standins
from composed.deployment import ENDED, Deployment, service
from dockbus.engine import Engine
from prometheus_server import Prometheus
from waiting import wait_for

pytestmark = pytest.mark.timeout(600)

OURS = (
    *("api", "events", "schedule", "metrics"),
    *(f"worker-{queue}" for queue in ("pull", "build", "run", "scan", "cleanup", "container")),
)
ALL = ("redis", *OURS, "prometheus")
WITHOUT_ENGINE = {"redis", "api", "schedule", "prometheus"}
ALIKE = ("worker", "api", "events", "metrics")
"""Images of which only what is started differs."""
DISTINCT = ("worker", "worker-build", "worker-scan")
IMAGES = {*ALIKE, *DISTINCT}


@pytest.fixture(scope="module")
def engine(scratch: Path, say: Callable[[str], None]) -> Generator[Engine]:
    """One of this module's own, on whose network the module's tests are, too."""
    with missing.service(standins.engine(scratch / "composed", say)) as engine:
        yield engine


@pytest.fixture(scope="module")
def registry(engine: Engine, scratch: Path, say: Callable[[str], None]) -> Generator[str]:
    """On the same network."""
    with registries.serve(scratch / "composed" / "registry", say) as address:
        yield address


@pytest.fixture(scope="module")
def deployment(engine: Engine, scratch: Path, say: Callable[[str], None]) -> Generator[Deployment]:
    began = time.monotonic()

    def done(what: str) -> None:
        nonlocal began
        say(f"{what} after {time.monotonic() - began:.0f} s")
        began = time.monotonic()

    deployment = Deployment(scratch / "composed", engine)
    try:
        deployment.compose("build")
        done("images are built")
        deployment.up()
        done("all is healthy")
        yield deployment
    finally:
        deployment.api.close()
        deployment.compose("down", "--volumes")


def run(script: str) -> dict[str, Any]:
    command, networks = ["sh", "-c", script], [{"name": "none"}]
    return {"kind": "run", "image": "dockbus/base:1", "command": command, "networks": networks}


def test_all_is_healthy_and_the_watch_has_a_standby(deployment: Deployment) -> None:
    assert deployment.health() == {"healthy"}
    assert sorted(map(service, deployment.containers())) == sorted([*ALL, "events"])


def test_a_job_of_each_kind_is_carried_out(
    deployment: Deployment, engine: Engine, registry: str
) -> None:
    image, built = f"{registry}/dockbus/composed:1", "dockbus/composed-built:1"
    registries.publish(engine, image)
    container = engine.api.create_container(
        "dockbus/base:1", ["sleep", "600"], labels={"dockbus.test": "1"}, name="dockbus-composed"
    )["Id"]
    engine.api.start(container)
    first = [
        deployment.order(spec)
        for spec in (
            run("echo hello"),
            {"kind": "pull", "image": image, "policy": "always"},
            {"kind": "build", "context": "/builds/hello", "tags": [built]},
            {"kind": "cleanup", "labels": {"dockbus.test": "composed"}, "dry_run": True},
            {"kind": "exec", "container": container, "command": ["true"]},
        )
    ]
    ended = deployment.ended(first)
    for action in (
        {"kind": "restart", "timeout": 1},
        {"kind": "stop", "timeout": 1},
        {"kind": "start"},
        {"kind": "remove", "force": True},
    ):
        ended += deployment.ended([deployment.order(action | {"container": container})])
    ended += deployment.ended([deployment.order({"kind": "scan", "image": built})])

    assert [one["state"] for one in ended] == ["succeeded"] * len(ended), ended
    assert engine.images.find(image)
    assert engine.images.find(built)
    assert not engine.api.containers(all=True, filters={"id": container})
    assert ended[-1]["result"]["totals"]["vuln"] > 0, "it is an old Debian's list of packages"


def test_images_without_a_tool_of_their_own_have_the_same_layers(
    deployment: Deployment, engine: Engine
) -> None:
    layers = [engine.api.inspect_image(f"dockbus/{name}:0.1.0")["RootFS"] for name in ALIKE]

    assert layers == [layers[0]] * len(ALIKE)


def test_our_own_scan_sees_all_that_is_in_each_image_and_finds_nothing(
    deployment: Deployment,
) -> None:
    looked_for = ["vuln", "secret", "misconfig"]
    fields = {"kind": "scan", "scanners": looked_for, "sbom": "cyclonedx"}
    jobs = [deployment.order({"image": f"dockbus/{name}:0.1.0"} | fields) for name in DISTINCT]
    locked = (standins.ROOT / "deploy/requirements.lock").read_text()
    put_in = {"dockbus", *re.findall(r"^([\w-]+)==\S+ \\$", locked, re.MULTILINE)}

    for name, job in zip(DISTINCT, deployment.ended(jobs, 300), strict=True):
        assert job["error"] is None, job["error"]
        assert job["result"]["os"]["family"] == "debian"
        assert job["result"]["totals"] == dict.fromkeys(looked_for, 0), (name, job["result"])
        listed = json.loads(deployment.artefact(job["id"], "sbom.cdx.json"))["components"]
        seen = {re.sub(r"[-_.]+", "-", one["name"]).lower() for one in listed}
        assert put_in <= seen, name


def test_our_own_build_job_reports_the_sizes_that_the_documentation_names(
    deployment: Deployment, say: Callable[[str], None]
) -> None:
    page = (standins.ROOT / "docs/deploy.md").read_text()
    named = dict(re.findall(r"^\| `dockbus/(\S+)` \| (\d+) MB \|", page, re.MULTILINE))
    context = deployment.clone / "examples" / "sizes"
    context.mkdir()
    (context / "Dockerfile").write_text("ARG IMAGE\nFROM ${IMAGE}\n")
    fields = {"kind": "build", "context": "/builds/sizes", "lint": "off", "report": True}
    jobs = [
        deployment.order(
            fields
            | {"args": {"IMAGE": f"dockbus/{name}:0.1.0"}, "tags": [f"dockbus/size-{name}:1"]}
            | {"min_efficiency": 0.99, "max_wasted": "1m"}
        )
        for name in DISTINCT
    ]

    for name, job in zip(DISTINCT, deployment.ended(jobs, 300), strict=True):
        assert job["error"] is None, job["error"]
        report = job["result"]["report"]
        base, *layers = [layer["size"] / 1e6 for layer in report["layers"]]
        sizes = ", ".join(f"{size:.1f}" for size in layers)
        say(
            f"{name}: {sum(layers):.0f} MB on a base of {base:.0f}, {report['efficiency']:.1%} of use ({sizes})"
        )
        assert sum(layers) == pytest.approx(int(named[name]), rel=0.05), name


def test_what_runs_is_confined(deployment: Deployment, engine: Engine) -> None:
    for one in deployment.containers():
        host, name = one["HostConfig"], one["Name"]
        assert one["Config"]["User"] not in ("", "root", "0"), name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert host["Memory"] > 0, name
        programs = {row[-1].split()[0] for row in engine.api.top(one["Id"])["Processes"]}
        assert not programs & {"sh", "/bin/sh", "bash"}, name
        has_socket = any(mount["Source"].endswith("docker.sock") for mount in one["Mounts"])
        assert has_socket == (service(one) not in WITHOUT_ENGINE), name
        published = [port for ports in host["PortBindings"].values() for port in ports or ()]
        assert {port["HostIp"] for port in published} <= {"127.0.0.1"}, name


def test_no_secret_stands_where_others_can_read_it(deployment: Deployment, engine: Engine) -> None:
    for one in deployment.containers():
        said = json.dumps(one) + json.dumps(engine.api.top(one["Id"]))
        assert not any(secret in said for secret in deployment.hidden.values()), one["Name"]
    assert "NOAUTH" in deployment.compose("exec", "-T", "redis", "redis-cli", "ping")


def test_no_program_needs_a_shell(deployment: Deployment, engine: Engine) -> None:
    """All other tests have shown that they work: here, that they have had none."""
    for one in deployment.containers(*OURS):
        for shell in ("sh", "bash"):
            asked = engine.api.exec_create(one["Id"], [shell, "-c", "true"])["Id"]
            engine.api.exec_start(asked)
            assert engine.api.exec_inspect(asked)["ExitCode"] in (126, 127), one["Name"]


def test_an_image_has_what_it_needs_and_no_compiler_and_no_root(
    deployment: Deployment, engine: Engine
) -> None:
    programs = ("cc", "gcc", "make", "curl", "docker", "trivy", "docker-buildx")
    expected = {"worker-scan": {"trivy"}, "worker-build": {"docker-buildx"}}
    for name in IMAGES:
        image = f"dockbus/{name}:0.1.0"
        config = engine.api.inspect_image(image)["Config"]
        assert (config["User"], config["Entrypoint"]) == ("10001:10001", ["dockbus"]), image
        assert config["Healthcheck"]["Test"] == ["CMD", "healthy"], image
        assert has(engine, image, programs) == expected.get(name, set()), image


def has(engine: Engine, image: str, names: tuple[str, ...]) -> set[str]:
    """Which of these programs an image has."""
    script = f"for name in {' '.join(names)}; do command -v $name; done; true"
    made = engine.api.create_container(
        image, ["-c", script], entrypoint="sh", labels={"dockbus.test": "1"}
    )["Id"]
    try:
        engine.api.start(made)
        engine.api.wait(made)
        return {Path(line).name for line in engine.api.logs(made).decode().split()}
    finally:
        engine.api.remove_container(made, force=True)


def test_prometheus_scrapes_every_program_and_containers_are_read_from_control_groups(
    deployment: Deployment,
) -> None:
    server = Prometheus(deployment.prometheus_port)
    expected = len(deployment.containers(*OURS))

    wait_for(lambda: list(server.targets().values()) == ["up"] * expected, 60, "all to be scraped")

    assert server.value('dockbus_sweep_source{source="cgroup"}') == 1
    assert server.query('container_network_receive_bytes_total{name=~".*-api-1"}')


def test_more_workers_under_load_and_fewer_again_lose_no_job(deployment: Deployment) -> None:
    jobs = [deployment.order(run("sleep 2")) for _ in range(60)]

    deployment.compose("up", "--detach", "--no-recreate", "--scale", "worker-run=4", "worker-run")
    wait_for(lambda: workers(deployment) == 4, 60, "four workers")
    deployment.compose("up", "--detach", "--no-recreate", "--scale", "worker-run=1", "worker-run")
    assert len(deployment.containers("worker-run")) == 1
    left = deployment.job(jobs[-1])["state"]
    ended = deployment.ended(jobs)

    assert left not in ENDED, "there was no load any more when workers left"
    assert {one["state"] for one in ended} == {"succeeded"}
    assert {one["attempts"] for one in ended} == {1}, "a worker left without waiting for its jobs"


def workers(deployment: Deployment) -> int:
    queues = deployment.api.get("/v1/queues").json()
    return next(int(queue["workers"]) for queue in queues if queue["name"] == "run")


def test_a_program_that_dies_comes_back_by_itself(deployment: Deployment) -> None:
    (before,) = deployment.containers("worker-run")
    job = deployment.order(run("sleep 3"))
    wait_for(lambda: deployment.job(job)["state"] == "started", 30, "the job to begin")

    os.kill(before["State"]["Pid"], signal.SIGKILL)

    assert deployment.ended([job])[0]["state"] == "succeeded"
    (after,) = deployment.containers("worker-run")
    assert after["RestartCount"] == before["RestartCount"] + 1


def test_what_needs_redis_says_that_it_is_away(deployment: Deployment) -> None:
    deployment.compose("pause", "redis")
    try:
        for name in OURS:
            seen = partial(deployment.say, name, well=name == "metrics")
            wait_for(seen, 60, f"{name} to see it")
        with pytest.raises(AssertionError, match="redis-unavailable"):
            deployment.order(run("true"))
    finally:
        deployment.compose("unpause", "redis")
    for name in OURS:
        wait_for(partial(deployment.say, name, well=True), 60, f"{name} to see it again")


def test_any_service_can_be_killed_and_no_job_is_lost(deployment: Deployment) -> None:
    jobs: list[str] = []
    for name in ALL:
        jobs += [deployment.order(run("sleep 2")) for _ in range(2)]
        deployment.compose("kill", name)
        assert deployment.health(name) == {"exited"}
        if name not in ("redis", "api"):
            jobs += [deployment.order(run("true"))]
        deployment.compose("up", "--detach", name)
        wait_for(deployment.takes_orders, 60, f"orders to be taken after {name} was killed")

    assert {one["state"] for one in deployment.ended(jobs)} == {"succeeded"}
    wait_for(lambda: deployment.health() == {"healthy"}, 60, "all to be healthy")


def test_down_leaves_nothing(deployment: Deployment, engine: Engine) -> None:
    deployment.compose("down", "--volumes")

    label = {"label": f"com.docker.compose.project={deployment.project}"}
    assert engine.api.containers(all=True, filters=label) == []
    assert engine.api.networks(filters=label) == []
    assert not engine.api.volumes()["Volumes"], "not even those without a name"
