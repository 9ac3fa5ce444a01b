"""What the API, the watch and a worker say of themselves, each at a port of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator

import httpx
import pytest

from dockbus import Bus, Run, Settings
from dockbus.engine import ContainerSpec, Engine
from dockbus.exposition import own_metrics
from dockbus.jobs.running import Network
from dockbus.settings import ApiSettings, MetricsSettings, WorkerSettings
from dockbus_producer.api import metrics as api_metrics
from dockbus_producer.api.app import create_app
from dockbus_producer.api.server import make_server
from dockbus_producer.watch_metrics import CATALOGUE as WATCH
from dockbus_workers.worker_metrics import CATALOGUE as WORKER
from processes import Program
from scrapes import Scrape, scraped
from waiting import wait_for

Start = Callable[..., Program]
TOKEN = "a-token"


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        free: int = sock.getsockname()[1]
        return free


# -- the API, in this process ---------------------------------------------------------------


@pytest.fixture
def api(engineless_bus: Bus, port: int) -> Generator[httpx.Client]:
    """A client of an API that serves its metrics at `port`."""
    app = create_app(engineless_bus, TOKEN)
    server = make_server(app)
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        own_metrics(MetricsSettings(own_port=port), "HTTP API", app.state.metrics),
        httpx.Client(
            base_url=f"http://127.0.0.1:{sock.getsockname()[1]}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
        ) as client,
    ):
        thread = threading.Thread(target=server.run, args=[[sock]])
        thread.start()
        wait_for(lambda: server.started, what="the API to serve")
        yield client
        server.should_exit = True
        thread.join()


def test_requests_are_told_by_route_never_by_path(api: httpx.Client, port: int) -> None:
    for path in ("/healthz", "/v1/jobs", "/v1/jobs/none-1", "/v1/jobs/none-2", "/v1/nowhere/x1"):
        api.get(path)
    api.get("/v1/queues", headers={"Authorization": "Bearer wrong"})
    api.put("/v1/jobs")
    api.request("BREW", "/healthz")

    found = scraped(port)

    counted = {
        (s.labels["method"], s.labels["route"], s.labels["status"]): s.value
        for s in found
        if s.name == "dockbus_http_requests_total"
    }
    assert counted.pop(("GET", "/v1/jobs/{job_id}", "404")) == 2
    assert counted == {
        ("GET", "/healthz", "200"): 1,
        ("GET", "/v1/jobs", "200"): 1,
        ("GET", "unmatched", "404"): 1,
        ("GET", "/v1/queues", "401"): 1,
        ("PUT", "/v1/jobs", "405"): 1,
        ("other", "/healthz", "405"): 1,
    }
    assert found.value("dockbus_http_request_seconds_count", route="/v1/jobs/{job_id}") == 2
    assert found.value("dockbus_http_requests_in_progress") == 0
    assert found.value("process_resident_memory_bytes") > 1e6
    assert not any("none-1" in value for s in found for value in s.labels.values())


def test_a_stream_is_in_progress_and_timed_by_its_begin(api: httpx.Client, port: int) -> None:
    with api.stream("GET", "/v1/events", headers={"Accept": "text/event-stream"}) as stream:
        assert stream.status_code == 200
        during = scraped(port)
    after = wait_for(
        lambda: (
            found
            if (found := scraped(port)).value("dockbus_http_requests_in_progress") == 0
            else None
        ),
        what="the stream to end",
    )

    assert during.value("dockbus_http_requests_in_progress") == 1
    assert during.value("dockbus_http_request_seconds_count", route="/v1/events") == 1
    assert after.value("dockbus_http_requests_total", route="/v1/events", status="200") == 1


def test_a_request_that_breaks_counts_as_500(engineless_bus: Bus) -> None:
    app = create_app(engineless_bus, TOKEN)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a bug")

    async def ask() -> int:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.get("/broken")).status_code

    import asyncio  # noqa: PLC0415

    assert asyncio.run(ask()) == 500
    (requests,) = (f for f in app.state.metrics.collect() if f.name == "dockbus_http_requests")
    assert [(s.labels["route"], s.labels["status"], s.value) for s in requests.samples] == [
        ("/broken", "500", 1)
    ]


def test_the_catalogue_of_the_api_is_what_it_gives(engineless_bus: Bus) -> None:
    given = {f.name: f for f in create_app(engineless_bus, TOKEN).state.metrics.collect()}

    assert set(given) == {family.metric().name for family in api_metrics.CATALOGUE}
    for family in api_metrics.CATALOGUE:
        assert given[family.metric().name].type == family.type


# -- whole processes ------------------------------------------------------------------------


def served(settings: Settings, port: int, **more: object) -> Settings:
    metrics = MetricsSettings(own_port=port)
    return settings.model_copy(update={"metrics": metrics, **more})


def test_the_api_serves_its_own(start: Start, settings: Settings, redis: object, port: int) -> None:
    start("api", settings=served(settings, port, api=ApiSettings(port=0)))

    assert scraped(port).value("dockbus_http_requests_in_progress") == 0


def test_a_watch_tells_whether_it_leads(
    start: Start, settings: Settings, redis: object, port: int
) -> None:
    start("watch", settings=served(settings, port))

    def at_work() -> Scrape | None:
        found = scraped(port)
        hears = found.value("dockbus_watch_streams_opened_total") > 0
        return found if hears and found.value("dockbus_watch_leads") else None

    found = wait_for(at_work, what="it to lead and to hear")

    assert found.value("dockbus_watch_leads", engine="local") == 1
    assert found.value("dockbus_watch_streams_opened_total", engine="local") >= 1
    assert found.value("dockbus_watch_dropped_events_total", engine="local") == 0
    assert found.value("dockbus_watch_backlog_events", engine="local") >= 0
    assert {s.name for s in found if s.name.startswith("dockbus")} == {f.name for f in WATCH}
    assert found.value("process_cpu_seconds_total") > 0


def test_a_watch_that_stands_by_keeps_what_it_hears(
    start: Start, settings: Settings, redis: object, port: int, engine: Engine, base_image: str
) -> None:
    leader = start("watch", settings=settings)
    leader.wait_until_said("this process leads")
    start("watch", settings=served(settings, port))
    wait_for(
        lambda: scraped(port).value("dockbus_watch_streams_opened_total") > 0, 60, "it to hear"
    )
    assert scraped(port).value("dockbus_watch_leads") == 0

    leader.process.send_signal(
        19
    )  # SIGSTOP: it tells nothing more, and holds its lease for a while
    try:
        name = "dockbus-test-standby-backlog"
        spec = ContainerSpec(
            name=name,
            image=base_image,
            command=["true"],
            labels={"dockbus.test": "1"},
            networks=[Network(name="none")],
        )
        engine.containers.create(spec)
        engine.containers.remove(name, force=True)
        wait_for(lambda: scraped(port).value("dockbus_watch_backlog_events") >= 2, 13, "a backlog")
    finally:
        leader.process.send_signal(18)  # SIGCONT


def test_a_worker_tells_of_its_slots(
    start: Start, settings: Settings, bus: Bus, base_image: str, port: int
) -> None:
    worker = start("worker", "run", settings=served(settings, port, worker=WorkerSettings(slots=3)))
    worker.wait_until_said("taking jobs")
    assert scraped(port).value("dockbus_worker_slots_busy", queue="run") == 0
    spec = Run(
        image=base_image,
        command=["sleep", "600"],
        networks=[Network(name="none")],
        stop_timeout=0,
        labels={"dockbus.test": "1"},
    )
    job = bus.enqueue(spec)

    busy = wait_for(
        lambda: found if (found := scraped(port)).value("dockbus_worker_slots_busy") else None,
        what="a busy slot",
    )
    job.cancel()

    assert busy.value("dockbus_worker_slots_busy", queue="run") == 1
    assert busy.value("dockbus_worker_slots", queue="run") == 3
    assert busy.value("dockbus_worker_ready", queue="run", engine="local") == 1
    assert {s.name for s in busy if s.name.startswith("dockbus")} == {f.name for f in WORKER}
    wait_for(
        lambda: scraped(port).value("dockbus_worker_slots_busy") == 0, what="the slot to be free"
    )


@pytest.mark.parametrize("program", [("api",), ("watch",), ("worker", "cleanup")])
def test_a_port_that_is_taken_stops_the_process_and_is_named(
    start: Start, settings: Settings, redis: object, program: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        started = start(*program, settings=served(settings, port, api=ApiSettings(port=0)))

        assert started.process.wait(60) == 1
        assert started.said(f"cannot listen on 127.0.0.1:{port}")
