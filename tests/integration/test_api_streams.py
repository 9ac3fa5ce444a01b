from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

import logs
from dockbus import Bus, Event, JobHandle, LogLine, Progress, Run, SettingsError
from dockbus.local import local_redis
from dockbus.settings import ApiSettings
from dockbus_producer.api.server import serve
from serving import Told, bus_settings, served, told
from waiting import wait_for

EVENTS = "/v1/events"


pytestmark = pytest.mark.usefixtures("redis")  # flushed after each test


@pytest.fixture(scope="module")
def bus(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Bus]:
    with Bus(bus_settings(redis_url, tmp_path_factory.mktemp("bus"))) as bus:
        yield bus


@pytest.fixture(scope="module")
def api(bus: Bus) -> Generator[httpx.Client]:
    with served(bus) as client:
        yield client


@pytest.fixture
def job(bus: Bus) -> JobHandle:
    return bus.enqueue(Run(image="busybox"))


def write(bus: Bus, job: JobHandle, *texts: str) -> None:
    logs.write(bus.redis, job.id, [LogLine(stream="stdout", text=text) for text in texts])


def texts(events: list[Told]) -> list[str]:
    return [event.data["text"] for event in events if event.event == "log"]


def reads(redis: Redis) -> int:
    """How often streams have been read so far."""
    stats: Any = redis.info("commandstats")  # pyright: ignore[reportUnknownMemberType]
    return int(stats.get("cmdstat_xread", {"calls": 0})["calls"])


def address(job: JobHandle) -> str:
    return f"/v1/jobs/{job.id}/logs"


def test_a_log_is_followed_live_to_the_end_of_the_job(
    api: httpx.Client, bus: Bus, job: JobHandle
) -> None:
    write(bus, job, "one\ntwo\r")
    with api.stream("GET", address(job)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        events = told(response)
        first = next(events)
        assert (first.event, first.data["text"]) == ("log", "one\ntwo\r")
        assert first.id == first.data["id"]

        step = Progress(step="layer", status="Downloading", current=1, total=2)
        logs.write(bus.redis, job.id, [step])
        progress = next(events)
        assert (progress.event, progress.data["current"]) == ("progress", 1)
        assert not job.state.ended

        job.cancel()
        (end,) = events
    assert (end.event, end.data["id"], end.data["state"]) == ("end", job.id, "canceled")


def test_a_log_goes_on_after_the_last_event_seen(
    api: httpx.Client, bus: Bus, job: JobHandle
) -> None:
    write(bus, job, "one", "two", "three")
    with api.stream("GET", address(job)) as response:
        seen = next(told(response))
    job.cancel()
    with api.stream("GET", address(job), headers={"Last-Event-ID": seen.id}) as response:
        rest = list(told(response))
    assert texts(rest) == ["two", "three"]
    with api.stream("GET", address(job), headers={"Last-Event-ID": rest[-2].id}) as response:
        assert [event.event for event in told(response)] == ["end"]


def test_a_log_that_is_not_followed_ends_with_what_is_there(
    api: httpx.Client, bus: Bus, job: JobHandle
) -> None:
    many = [str(number) for number in range(2500)]
    write(bus, job, *many)
    with api.stream("GET", address(job), params={"follow": "false"}) as response:
        *events, end = told(response)
    assert texts(events) == many
    assert (end.event, end.data["state"]) == ("end", "queued")


def test_a_job_that_ended_without_an_end_mark_ends_its_log(
    api: httpx.Client, bus: Bus, job: JobHandle
) -> None:
    write(bus, job, "one")
    with api.stream("GET", address(job)) as response:
        events = told(response)
        next(events)
        bus.redis.hset(f"rq:job:{job.id}", "status", "canceled")  # by somebody else's tool
        begin = time.monotonic()
        (end,) = events
    assert end.data["state"] == "canceled"
    assert time.monotonic() - begin < 30


def test_a_follower_that_has_gone_is_forgotten(
    api: httpx.Client, redis: Redis, job: JobHandle
) -> None:
    def quiet() -> bool:
        before = reads(redis)
        time.sleep(0.5)
        return reads(redis) == before

    with api.stream("GET", address(job)), api.stream("GET", EVENTS):
        assert not quiet()
    wait_for(quiet, what="the end of the polling")


def test_events_are_told_from_the_beginning_from_a_position_and_from_now_on(
    api: httpx.Client, bus: Bus
) -> None:
    facts = [Event(source="/test", type=f"test.{number}") for number in range(4)]
    for fact in facts[:3]:
        bus.publish(fact)
    with api.stream("GET", EVENTS, params={"since": "0"}) as response:
        events = told(response)
        first, second = next(events), next(events)
    assert Event.model_validate(first.data) == facts[0]
    assert first.event == ""
    for params, headers in (
        ({"since": second.id}, {}),
        ({"since": "0"}, {"Last-Event-ID": second.id}),
    ):
        with api.stream("GET", EVENTS, params=params, headers=headers) as response:
            assert next(told(response)).data["type"] == "test.2"
    with api.stream("GET", EVENTS) as response:
        bus.publish(facts[3])
        assert next(told(response)).data["type"] == "test.3"


def test_redis_going_away_ends_a_stream_with_a_problem_and_may_come_back(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="dkb-") as name:
        folder = Path(name)
        settings = bus_settings(f"unix://{folder}/redis.sock", tmp_path)
        with Bus(settings, patience=0) as bus, served(bus) as api:
            assert api.get("/readyz").status_code == 503
            with local_redis(folder, lambda _: None) as url:
                assert url == settings.redis_url
                assert api.get("/readyz").status_code == 200
                follower = api.stream("GET", address(bus.enqueue(Run(image="busybox"))))
                response = follower.__enter__()
            try:
                (trouble,) = told(response)
            finally:
                follower.__exit__(None, None, None)
            assert trouble.event == "problem"
            assert trouble.data["type"] == "urn:dockbus:problem:redis-unavailable"
            assert api.get("/readyz").status_code == 503
            with local_redis(folder, lambda _: None):
                assert api.get("/readyz").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_stops_cleanly_with_a_follower_on_the_line(
    bus: Bus, redis_url: str, job: JobHandle, tmp_path: Path, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", "from dockbus_producer.cli import api; api()"],
        env=os.environ
        | {
            "DOCKBUS_REDIS_URL": redis_url,
            "DOCKBUS_BUS_KEY": bus.settings.bus.key.get_secret_value(),
            "DOCKBUS_BUS_DATA_DIR": str(tmp_path),
            "DOCKBUS_API_PORT": "0",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    with process:
        try:
            url = process.stdout.readline().split()[-1]
            bearer = {"Authorization": f"Bearer {(tmp_path / 'token').read_text()}"}
            with (
                httpx.Client(base_url=url, headers=bearer, trust_env=False) as api,
                api.stream("GET", address(job)) as response,
            ):
                write(bus, job, "one")
                events = told(response)
                next(events)
                begin = time.monotonic()
                process.send_signal(number)
                assert list(events) == []  # whole, and without `end`: the client asks again
            assert process.wait(30) == 0
            assert time.monotonic() - begin < 20
            (last,) = process.stdout.readlines()
            assert last.endswith("the API has stopped\n")
        finally:
            process.kill()


def test_an_address_that_is_taken_is_named(redis_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        settings = bus_settings(redis_url, tmp_path)
        taken = settings.model_copy(update={"api": ApiSettings(port=port)})
        with pytest.raises(SettingsError, match=rf"DOCKBUS_API_PORT.*127\.0\.0\.1:{port}.*in use"):
            serve(taken)
