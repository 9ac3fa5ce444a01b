"""Metrics workers as processes: which of several leads, what is served without Redis, and the numbers of real jobs."""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text
from redis import Redis

import debian
from attempting import SPEC
from dockbus import Bus, JobFailed, Run, Settings
from dockbus.connection import connect
from dockbus.errors import DockbusError
from dockbus.settings import MetricsSettings, RedisSettings, WorkerSettings
from dockbus_workers.metrics import leadership
from dockbus_workers.metrics.leadership import LEASE, Leases, lease_key
from outage import Plug
from processes import Program
from scrapes import Scrape
from waiting import wait_for

Start = Callable[..., Program]


class Page(Scrape):
    """What one scrape said."""

    def has(self, name: str, /, **labels: str) -> bool:
        return any(s.name == name and labels.items() <= s.labels.items() for s in self)


@pytest.fixture
def plug(redis_url: str) -> Generator[Plug]:
    with Plug(redis_url.removeprefix("unix://")) as plug:
        yield plug


# -- leases ---------------------------------------------------------------------------------


def test_one_of_two_has_a_lease_and_the_other_gets_it_when_that_ends(redis: Redis) -> None:
    with Leases(redis, ("x",)) as first:
        assert first.leads("x")
        with Leases(redis, ("x", "y")) as second:
            assert not second.leads("x")
            assert second.leads("y")
        assert redis.exists(lease_key("x"))  # it was not the second's to give back
        assert not redis.exists(lease_key("y"))
    with Leases(redis, ("x",)) as third:
        assert third.leads("x")


def test_who_has_a_lease_goes_on_without_redis_and_who_stood_by_stands_by(
    redis: Redis, plug: Plug, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "RENEW", 0.05)
    with (
        connect(f"redis://127.0.0.1:{plug.port}", patience=0.0) as client,
        Leases(client, ("x",)) as first,
    ):
        assert first.leads("x")
        with Leases(client, ("x",)) as second:
            assert not second.leads("x")
            plug.pull()
            before = plug.refused
            wait_for(lambda: plug.refused > before + 4, what="both to have asked in vain")
            with Leases(client, ("x",)) as newcomer:
                assert (first.leads("x"), second.leads("x")) == (True, False)
                assert newcomer.leads("x")  # who has never heard of another
                plug.put_back()
                wait_for(lambda: not newcomer.leads("x"), what="it to hear of the first")
            assert (first.leads("x"), second.leads("x")) == (True, False)


def test_who_was_frozen_asks_anew_before_it_exports(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "RENEW", 0.5)
    monkeypatch.setattr(leadership, "STALE", 0.0)  # as if every answer were that old
    monkeypatch.setattr(leadership, "PATIENCE", 0.0)
    with Leases(redis, ("x",)) as frozen:
        wait_for(lambda: redis.exists(lease_key("x")), what="the lease")
        redis.set(lease_key("x"), "another", px=60_000)
        monkeypatch.setattr(leadership, "PATIENCE", 5.0)
        monkeypatch.setattr(leadership, "STALE", 0.2)
        time.sleep(0.25)  # what it knows is stale now

        assert not frozen.leads("x")


# -- whole processes ------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def on_port(settings: Settings, port: int, **more: Any) -> Settings:
    return settings.model_copy(update={"metrics": MetricsSettings(port=port), **more})


def scrape(port: int) -> Page | None:
    with contextlib.suppress(httpx.TransportError):
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30, trust_env=False)
        assert answer.status_code == 200
        return Page(s for family in parse_text(answer.text) for s in family.samples)
    return None


def scraped(port: int) -> Page:
    return wait_for(lambda: scrape(port), 60, "a page")


def test_of_two_metrics_workers_one_leads_and_when_it_is_killed_the_other(
    start: Start, settings: Settings, redis: Redis
) -> None:
    ports = [free_port(), free_port()]
    first = start("metrics", settings=on_port(settings, ports[0]))
    led = scraped(ports[0])
    start("metrics", settings=on_port(settings, ports[1]))
    stood_by = scraped(ports[1])

    assert led.value("dockbus_metrics_leads", engine="local") == 1
    assert led.has("rq_jobs")
    assert stood_by.value("dockbus_metrics_leads", engine="local") == 0
    assert stood_by.value("dockbus_engine_up") == 1
    assert stood_by.has("process_cpu_seconds_total")
    assert not any(s.name.startswith(("container_", "rq_")) for s in stood_by)
    assert not stood_by.has("dockbus_redis_up")

    first.process.kill()
    begun = time.monotonic()
    wait_for(lambda: scraped(ports[1]).value("dockbus_metrics_leads") == 1, 60, "the other to lead")
    assert time.monotonic() - begun < LEASE + leadership.RENEW + 10
    wait_for(lambda: scraped(ports[1]).has("rq_jobs"), 30, "it to export the bus")


def test_the_page_is_there_without_redis_and_has_the_bus_when_that_is_back(
    start: Start, settings: Settings, plug: Plug, redis: Redis
) -> None:
    port = free_port()
    away = RedisSettings(url=f"redis://127.0.0.1:{plug.port}")
    plug.pull()
    start("metrics", settings=on_port(settings, port, redis=away))

    alone = scraped(port)
    plug.put_back()
    back = wait_for(
        lambda: found if (found := scraped(port)).has("rq_jobs") else None, 30, "the bus"
    )
    plug.pull()
    gone = scraped(port)

    assert alone.value("dockbus_redis_up") == gone.value("dockbus_redis_up") == 0
    assert back.value("dockbus_redis_up") == 1
    for page in (alone, back, gone):
        assert page.value("dockbus_engine_up") == 1
        assert page.value("dockbus_metrics_leads") == 1
    assert not alone.has("rq_jobs")
    assert not gone.has("rq_jobs")


def test_real_jobs_are_counted(
    start: Start, settings: Settings, bus: Bus, base_image: str, redis: Redis
) -> None:
    settings = settings.model_copy(
        update={"worker": WorkerSettings(slots=3), "bus": bus.settings.bus}
    )
    worker = start("worker", "run", settings=settings)
    worker.wait_until_said("taking jobs")
    spec = {"image": base_image, "networks": ["none"], "labels": {"dockbus.test": "1"}}
    jobs = [
        bus.enqueue(Run.model_validate(spec | {"command": ["sh", "-c", script]}))
        for script in ("true", "exit 3", "true")
    ]
    missing = {"image": "dockbus-test/not-there:1", "pull": "never"}
    refused = bus.enqueue(Run.model_validate(spec | missing))
    for job in jobs:
        job.wait(timeout=60)
    with pytest.raises(JobFailed):
        refused.wait(timeout=60)
    port = free_port()
    start("metrics", settings=on_port(settings, port))

    def settled() -> Page | None:
        found = scraped(port)
        return found if found.value("dockbus_queue_slots_busy", queue="run") == 0 else None

    found = wait_for(settled, 30, "the slots to be free")

    run = {"kind": "run"}
    ended = {
        s.labels["outcome"]: s.value
        for s in found
        if s.name == "dockbus_jobs_total" and s.labels["kind"] == "run" and s.value
    }
    assert refused.state.value in ("failed", "dead")
    assert ended == {"succeeded": 3, refused.state.value: 1}
    assert sum(s.value for s in found if s.name == "dockbus_jobs_enqueued_total") == 4
    assert found.value("dockbus_runs_total", image=base_image, exit_code="3") == 1
    assert found.value("dockbus_runs_total", image=base_image, exit_code="0") == 2
    assert sum(s.value for s in found if s.name == "dockbus_job_run_seconds_count") == 4
    assert sum(s.value for s in found if s.name == "dockbus_job_run_seconds_sum") > 0.1
    assert found.has("dockbus_job_wait_seconds_bucket", **run)
    assert found.value("dockbus_queue_slots", queue="run") == 3
    assert found.value("dockbus_queue_workers", queue="run") == 1
    assert found.value("dockbus_queue_workers", queue="run@local") == 1
    assert found.value("dockbus_worker_heartbeat_age_seconds", queue="run") < 10
    assert sum(s.value for s in found if s.name == "rq_workers_success_total") == 3


def test_promtool_has_nothing_against_what_is_said_of_the_bus(
    start: Start, settings: Settings, bus: Bus, scratch: Path, say: Callable[[str], None]
) -> None:
    try:
        promtool = debian.program("prometheus", "usr/bin/promtool", scratch, say)
    except DockbusError as error:
        if os.environ.get("CI") or os.environ.get("DOCKBUS_CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    bus.enqueue(SPEC)
    port = free_port()
    start("metrics", settings=on_port(settings, port))
    scraped(port)

    page = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30, trust_env=False).text
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page, text=True, capture_output=True, check=False
    )

    ours = [line for line in done.stderr.splitlines() if not line.startswith("container_")]
    assert ours == []
    assert done.returncode in (0, 3), done.stderr  # 3: what cAdvisor's names are not forgiven
