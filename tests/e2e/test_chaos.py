"""Workers, Redis and the Engine are killed at random while jobs run, and nothing is lost, doubled or left.

`make chaos` runs this in its long form. CHAOS_SEED repeats a run's choices, CHAOS_JOBS says how many jobs
each run has, CHAOS_KEEP names a folder for what a failed run leaves. See docs/chaos.md.
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from dockbus import local
from dockbus.engine import Engine
from dockbus.jobs import LABEL_JOB
from dockbus.settings import EngineSettings
from e2e.chaos.keeper import DEATHS, Keeper
from e2e.chaos.ride import DEADLINE, HEARTBEAT, LONG, SEED, SWEEP, Say, World, ride
from e2e.chaos.services import RedisServer, engine_server, redis_server
from e2e.chaos.storm import Fault

PAUSE = 30.0 if LONG else 5.0
"""Seconds that Redis is frozen: longer than a lease."""

pytestmark = pytest.mark.timeout(DEADLINE + SWEEP + 120)


@pytest.fixture
def folder() -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="dkb-") as folder:
        yield Path(folder)


@pytest.fixture
def redis_of_ours(folder: Path) -> Generator[RedisServer]:
    with redis_server(folder / "redis") as server:
        yield server


def kills(keeper: Keeper, every: float) -> Fault:
    return Fault("SIGKILL", lambda: keeper.kill(signal.SIGKILL), every)


def stops(keeper: Keeper, every: float) -> Fault:
    return Fault("SIGTERM", lambda: keeper.kill(signal.SIGTERM), every)


def test_workers_die_at_every_point_of_a_jobs_life(
    engine: Engine, base_image: str, redis_of_ours: RedisServer, folder: Path, say: Say
) -> None:
    world = World(engine, redis_of_ours.url, folder, say)

    keeper = ride(
        world,
        "workers",
        lambda keeper: [
            kills(keeper, 6),
            stops(keeper, 6),
            Fault("SIGSTOP", lambda: keeper.freeze(HEARTBEAT + 2), 8),
        ],
        dying=True,
    )

    if LONG:
        assert set(DEATHS) <= set(keeper.deaths)


def test_redis_is_killed_and_frozen(
    engine: Engine, base_image: str, redis_of_ours: RedisServer, folder: Path, say: Say
) -> None:
    dice = random.Random(SEED)  # noqa: S311  no secret

    def kill() -> None:
        redis_of_ours.kill()
        time.sleep(dice.random())
        redis_of_ours.start()

    def freeze() -> None:
        redis_of_ours.freeze()
        time.sleep(PAUSE)
        redis_of_ours.thaw()

    ride(
        World(engine, redis_of_ours.url, folder, say),
        "redis",
        lambda keeper: [
            Fault("Redis killed", kill, 10 if LONG else 5),
            Fault("Redis frozen", freeze, 60 if LONG else 8),
            kills(keeper, 6),
            stops(keeper, 6),
        ],
        dying=False,
    )


def test_the_engine_is_killed(redis_of_ours: RedisServer, folder: Path, say: Say) -> None:
    with (
        engine_server(folder / "engine") as server,
        closing(Engine(EngineSettings(host=server.host))) as engine,
    ):
        local.base_image(engine, folder, say)
        world = World(engine, redis_of_ours.url, folder, say)
        before = networks_and_volumes(engine)

        def running() -> set[str]:
            return {
                container.labels[LABEL_JOB]
                for container in engine.containers.all()
                if LABEL_JOB in container.labels
            }

        def kill() -> None:
            world.cut |= running()
            server.kill()
            time.sleep(1.0)
            server.start()
            world.cut |= running()

        ride(
            world,
            "engine",
            lambda keeper: [Fault("Engine killed", kill, 20 if LONG else 8), kills(keeper, 8)],
            dying=False,
        )

        assert networks_and_volumes(engine) == before


def networks_and_volumes(engine: Engine) -> set[str]:
    networks = {network["Name"] for network in engine.api.networks()}
    return networks | {volume["Name"] for volume in engine.api.volumes()["Volumes"] or ()}
