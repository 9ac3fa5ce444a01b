"""The metrics worker over HTTP, against a real Engine and real containers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

from containers import new_network
from dockbus.engine import ContainerSpec, Engine
from dockbus.errors import SettingsError
from dockbus.jobs.running import Network
from dockbus.settings import EngineSettings, MetricsSettings, Settings
from dockbus_workers.metrics.families import OWN
from dockbus_workers.metrics.server import server
from scrapes import Scrape, awaited
from waiting import wait_for

Start = Callable[..., str]


def scrape(url: str, **headers: str) -> Scrape:
    answer = httpx.get(f"{url}/metrics", headers=headers, timeout=30, trust_env=False)
    assert answer.status_code == 200
    return Scrape(s for family in parse_text(answer.text) for s in family.samples)


def seen(url: str, container: str) -> Scrape:
    """The first scrape with that container: the worker hears of it from the Engine, a moment after its start."""
    return awaited(lambda: scrape(url), lambda page: page.of(container), "its series")


@contextlib.contextmanager
def served(settings: Settings) -> Generator[str]:
    loopback = settings.model_copy(update={"metrics": MetricsSettings(port=0)})
    with server(loopback) as bound:
        thread = threading.Thread(target=bound.serve_forever, args=[0.02])
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.server_port}"
        finally:
            bound.shutdown()
            thread.join()


@pytest.fixture
def url(settings: Settings) -> Generator[str]:
    with served(settings) as url:
        yield url


@pytest.fixture
def start(engine: Engine, base_image: str) -> Generator[Start]:
    """Starts a container that runs a shell script; gives its name."""
    started: list[str] = []

    def start(script: str, *, network: str = "none", **labels: str) -> str:
        name = f"dockbus-test-{uuid4().hex[:12]}"
        spec = ContainerSpec(
            name=name,
            image=base_image,
            command=["sh", "-c", script],
            labels={"dockbus.test": "1"} | labels,
            networks=[Network(name=network)],
            cap_add=["NET_RAW"],
            memory=64 * 1024 * 1024,
        )
        started.append(engine.containers.create(spec))
        engine.containers.start(name)
        return name

    yield start
    for container in reversed(started):
        engine.containers.remove(container, force=True)


@pytest.fixture
def network(engine: Engine) -> Generator[tuple[str, str]]:
    """A network of the test's own: its name and its gateway's address. Ask for it before `start`, to outlive its containers."""
    name = f"dockbus-test-{uuid4().hex[:12]}"
    new_network(engine, name)
    yield name, engine.api.inspect_network(name)["IPAM"]["Config"][0]["Gateway"]
    engine.api.remove_network(name)


def test_a_busy_container_as_the_engine_sees_it(url: str, start: Start, engine: Engine) -> None:
    before = time.time()
    busy = start("while :; do :; done", **{"com.docker.compose.project": "shop"})

    first = seen(url, busy)

    def later() -> float:
        return scrape(url).of(busy)["container_cpu_usage_seconds_total"]

    values = first.of(busy)
    wait_for(lambda: later() >= values["container_cpu_usage_seconds_total"] + 0.5, what="CPU time")
    assert first.value("dockbus_engine_up") == 1
    labels = next(s for s in first if s.labels.get("name") == busy).labels
    container = engine.containers.get(busy)
    assert labels == {
        "engine": "local",
        "id": labels["id"],
        "name": busy,
        "image": container.image,
        "container_label_com_docker_compose_project": "shop",
        "container_label_com_docker_compose_service": "",
    }
    assert container.id in labels["id"]
    first.value("container_cpu_usage_seconds_total", name=busy, cpu="total")
    assert values["container_spec_memory_limit_bytes"] == 64 * 1024 * 1024
    assert before - 1 < values["container_start_time_seconds"] < time.time()
    assert values["container_start_time_seconds"] <= values["container_last_seen"] < time.time() + 1


def test_working_set_is_usage_without_idle_file_cache(
    url: str, start: Start, engine: Engine
) -> None:
    writer = start("dd if=/dev/zero of=/file bs=1M count=8 && exec sleep 1000")

    def settled() -> dict[str, Any] | None:
        stats: Any = engine.api.stats(writer, stream=False, one_shot=True)
        memory: dict[str, Any] = stats["memory_stats"]
        alone = stats["pids_stats"]["current"] == 2  # init and sleep: dd and its buffer are gone
        return memory if alone and memory["usage"] > 8_000_000 else None

    def inactive(memory: dict[str, Any]) -> int:
        stats: dict[str, int] = memory["stats"]
        return stats.get("total_inactive_file", stats.get("inactive_file", 0))

    memory = wait_for(settled, what="the file to be in the cache")
    assert memory
    if not inactive(memory):
        pytest.skip("this Engine keeps its files in memory, so there is no idle file cache")
    assert inactive(memory) > 4_000_000

    def agreed() -> dict[str, float] | None:
        """What the worker says, at a moment in which the kernel gives nothing back that it held in reserve."""
        values, memory = seen(url, writer).of(writer), settled()
        assert memory
        usage, working = memory["usage"], memory["usage"] - inactive(memory)
        alike = (
            values["container_memory_usage_bytes"] == pytest.approx(usage, abs=64 * 1024),
            values["container_memory_working_set_bytes"] == pytest.approx(working, abs=64 * 1024),
        )
        return values if all(alike) else None

    values = wait_for(agreed, 60, "both to say the same")
    assert values
    assert 0 < values["container_memory_working_set_bytes"] < values["container_memory_usage_bytes"]
    assert values["container_memory_cache"] > 4_000_000


def test_the_worker_tells_what_it_costs(url: str, start: Start) -> None:
    name = start("sleep 1000")
    found = seen(url, name)

    names = {sample.name for sample in found}
    assert {family.name for family in OWN} <= names
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= names
    assert found.value("dockbus_engine_requests_total", outcome="ok") >= 3
    assert found.value("dockbus_inventory_containers", state="running") >= 1
    assert found.value("dockbus_inventory_age_seconds") < 60
    assert found.value("dockbus_sweep_containers", result="ok") >= 1
    series = sum(sample.name.startswith("container_") for sample in found)
    assert found.value("dockbus_series") == series
    assert found.value("dockbus_containers_left_out") == 0


def test_a_removed_container_has_no_series(url: str, start: Start, engine: Engine) -> None:
    doomed = start("sleep 1000")
    seen(url, doomed)

    engine.containers.remove(doomed, force=True)

    wait_for(lambda: not scrape(url).of(doomed), timeout=60, what="its series to be gone")


def test_a_restart_is_seen(url: str, start: Start, engine: Engine) -> None:
    name = start("sleep 1000")
    started = seen(url, name).of(name)["container_start_time_seconds"]

    engine.api.restart(name, timeout=0)

    wait_for(
        lambda: scrape(url).of(name).get("container_start_time_seconds", 0) > started,
        what="the new start",
    )


def test_an_engine_that_is_not_there_is_a_number_not_an_error(settings: Settings) -> None:
    nowhere = EngineSettings(host=f"tcp://127.0.0.1:{free_port()}")

    with served(settings.model_copy(update={"engine": nowhere})) as url:
        found = scrape(url)

    assert found.value("dockbus_engine_up") == 0
    assert found.value("dockbus_series") == 0
    assert not any(sample.name.startswith("container_") for sample in found)


def test_an_engine_that_dies_leaves_no_series_and_may_come_back(
    settings: Settings, engine_host: str, start: Start
) -> None:
    name = start("sleep 1000")
    port = free_port()
    away = settings.model_copy(update={"engine": EngineSettings(host=f"tcp://127.0.0.1:{port}")})

    with served(away) as url:
        with Wire(port, engine_host.removeprefix("unix://")):
            wait_for(lambda: scrape(url).of(name), what="its series")
        wait_for(lambda: scrape(url).value("dockbus_engine_up") == 0, what="the Engine to be down")
        assert not scrape(url).of(name)
        with Wire(port, engine_host.removeprefix("unix://")):
            wait_for(lambda: scrape(url).of(name), what="its series again")


def test_openmetrics_is_spoken_to_who_asks_for_it(url: str, start: Start) -> None:
    name = start("sleep 1000")
    seen(url, name)

    answer = httpx.get(
        f"{url}/metrics",
        headers={"Accept": "application/openmetrics-text;version=1.0.0"},
        trust_env=False,
    )

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    parse: Any = openmetrics.text_string_to_metric_families  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    samples: list[Sample] = [sample for family in parse(answer.text) for sample in family.samples]
    assert any(sample.labels.get("name") == name for sample in samples)
    assert all(sample.timestamp is None for sample in samples)
    assert not any(sample.name.endswith("_created") for sample in samples)


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [("/", 200, "/metrics"), ("/healthz", 200, "ok"), ("/metrics/x", 404, "see /metrics")],
)
def test_paths(url: str, path: str, status: int, text: str) -> None:
    answer = httpx.get(url + path, trust_env=False)

    assert (answer.status_code, text in answer.text) == (status, True)


def test_an_address_in_use_is_named(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port: int = other.getsockname()[1]
        taken = settings.model_copy(update={"metrics": MetricsSettings(port=port)})
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port}"), server(taken):
            pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_ends_cleanly_when_told_to(engine_host: str, number: int) -> None:
    port = free_port()
    env = os.environ | {"DOCKBUS_ENGINE_HOST": engine_host, "DOCKBUS_METRICS_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-c", "from dockbus_workers.metrics_cli import metrics; metrics()"],
        env=env | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(f"{url}/healthz"), what="the process to serve")
        assert scrape(url).value("dockbus_engine_up") == 1
        process.send_signal(number)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, trust_env=False).status_code == 200
    return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


class Wire:
    """Carries a TCP port's connections to a Unix socket, until it is cut."""

    def __init__(self, port: int, path: str) -> None:
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", port))
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        for end in [self._listener, *self._ends]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in [self._listener, *self._ends]:
            end.close()

    def _run(self, target: Callable[..., None], *args: socket.socket) -> None:
        self._threads.append(threading.Thread(target=target, args=args))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                self._ends += [near, far]
                far.connect(self._path)
                self._run(self._carry, near, far)
                self._run(self._carry, far, near)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
