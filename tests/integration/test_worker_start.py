"""What a worker does before its first job: wait for Redis, and hold its Engine's name."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from dockbus import Bus, JobState, Run, RunResult, Settings
from dockbus.errors import EngineNameTaken
from dockbus.jobs.running import Network
from dockbus.settings import RedisSettings
from dockbus_workers.presence import NAME_CLAIMED, NAME_HELD, Name, claim_name
from outage import Plug
from processes import Program
from waiting import wait_for

Start = Callable[..., Program]
SPEC = Run(
    image="dockbus/base:1",
    command=["true"],
    networks=[Network(name="none")],
    labels={"dockbus.test": "1"},
)

pytestmark = pytest.mark.usefixtures("base_image")


@pytest.fixture
def plug(redis_url: str) -> Generator[Plug]:
    with Plug(redis_url.removeprefix("unix://")) as plug:
        yield plug


def test_a_worker_that_is_there_before_redis_waits_for_it(
    bus: Bus, start: Start, settings: Settings, plug: Plug
) -> None:
    plug.pull()
    redis = RedisSettings(url=f"redis://127.0.0.1:{plug.port}")
    worker = start("worker", "run", settings=settings.model_copy(update={"redis": redis}))
    wait_for(lambda: plug.refused > 1, 60, "it to have asked")
    job = bus.enqueue(SPEC)
    assert (job.state, worker.process.poll()) == (JobState.QUEUED, None)

    plug.put_back()

    assert isinstance(job.wait(timeout=60), RunResult)


def test_a_worker_told_to_stop_does_not_wait_for_a_redis_that_is_away(
    start: Start, settings: Settings, plug: Plug
) -> None:
    redis = RedisSettings(url=f"redis://127.0.0.1:{plug.port}", outage=600)
    worker = start("worker", "run", settings=settings.model_copy(update={"redis": redis}))
    worker.wait_until_said("taking jobs")
    plug.pull()
    wait_for(lambda: plug.refused > 1, 60, "it to have noticed")

    assert worker.stop() == 0


def test_a_name_is_one_engines_until_its_workers_are_gone(redis: Any) -> None:
    claim_name(redis, "a", "ENGINE-1")
    claim_name(redis, "b", "ENGINE-2")
    claim_name(redis, "a", "ENGINE-1")

    with pytest.raises(
        EngineNameTaken, match="'a' is Engine ENGINE-1, and this is Engine ENGINE-2"
    ):
        claim_name(redis, "a", "ENGINE-2")
    assert 0 < redis.ttl("dockbus:engine:a") <= NAME_HELD
    redis.delete("dockbus:engine:a")  # as it expires
    claim_name(redis, "a", "ENGINE-2")


def test_who_holds_a_name_claims_it_now_and_then_and_at_once_for_another_engine(redis: Any) -> None:
    name, later = Name(redis, "a"), 1000.0 + NAME_CLAIMED
    name.hold("ENGINE-1", 1000.0)
    redis.set("dockbus:engine:a", "ENGINE-2")

    name.hold("ENGINE-1", later - 0.1)  # it was its own a moment ago
    for _ in range(2):
        with pytest.raises(EngineNameTaken):
            name.hold("ENGINE-1", later)
    name.hold("ENGINE-2", later)
    redis.delete("dockbus:engine:a")
    name.hold("ENGINE-1", later)

    assert redis.get("dockbus:engine:a") == b"ENGINE-1"


def test_a_worker_whose_engines_name_is_taken_takes_no_job_and_says_why(
    bus: Bus, start: Start, redis: Any
) -> None:
    """It might begin anew what the other Engine has begun."""
    claim_name(redis, "local", "ANOTHER-ENGINE")
    job = bus.enqueue(SPEC)
    worker = start("worker", "run")

    worker.wait_until_said("'local' is Engine ANOTHER-ENGINE")
    assert worker.said("DOCKBUS_ENGINE_NAME")
    assert job.state is JobState.QUEUED
    redis.delete("dockbus:engine:local")

    assert isinstance(job.wait(timeout=60), RunResult)
