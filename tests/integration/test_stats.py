"""Stats of real containers, measured by a metrics worker while somebody asks, and never else."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from actions import Launch, target
from commandline import PROGRAM, CommandLine
from containers import new_network
from dockbus import Bus, Settings
from dockbus.engine import Engine
from dockbus.jobs.running import Healthcheck
from dockbus.settings import MetricsSettings
from dockbus.stats import ContainerStats, HealthStatus, StatsUnavailable
from dockbus.stats.board import WORKERS
from dockbus_workers.metrics.sweep import Sweeper
from measuring import metrics_worker
from outage import Plug
from processes import environment
from serving import served
from waiting import wait_for
from watched import watching

BUSY = "while :; do :; done"
MEMORY = 64 << 20


@pytest.fixture
def sweeper(settings: Settings, bus: Bus, base_image: str) -> Generator[Sweeper]:
    with metrics_worker(settings) as sweeper:
        wait_for(lambda: bus.redis.exists(WORKERS), what="the metrics worker")
        yield sweeper


def docker_stats(engine: Engine, container: str) -> float:
    """CPU in percent as the docker command computes it, from two samples of the Engine's own."""
    said: Any = engine.api.stats(container, stream=False)
    now, before = said["cpu_stats"], said["precpu_stats"]
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    ticks = now["system_cpu_usage"] - before["system_cpu_usage"]
    return float(used / ticks * now["online_cpus"] * 100)


@pytest.mark.usefixtures("sweeper")
def test_a_container_uses_what_the_docker_command_says(bus: Bus, engine: Engine) -> None:
    limited: dict[str, Any] = {"memory": MEMORY, "cpus": 0.1, "labels": {"tier": "stats"}}
    with target(engine, BUSY, **limited) as busy, target(engine, "sleep 1000", memory=0) as calm:
        found: dict[str, ContainerStats] = {}

        def agree() -> bool:
            """In one of these seconds nobody else takes the cores, so that it gets what it may have."""
            shown = docker_stats(engine, busy.id)
            found.update({one.id: one for one in bus.stats()})
            used = found[busy.id].cpu_percent
            return used == pytest.approx(shown, abs=2.5) and used == pytest.approx(10, abs=2.5)

        wait_for(agree, 90, "a tenth of a core, by docker and by dockbus")
        one = found[busy.id]
        assert one.check_limits(cpu=5)
        assert not one.check_limits(cpu=20)
        assert (one.engine, one.name, one.image) == ("local", busy.name, busy.image)
        assert one.labels["tier"] == "stats"
        assert one.started == busy.started
        said: Any = engine.api.stats(busy.id, stream=False, one_shot=True)

        def alike() -> bool:
            """At a moment in which the kernel gives nothing back that it held in reserve."""
            found.update({one.id: one for one in bus.stats()})
            memory: Any = engine.api.stats(busy.id, stream=False, one_shot=True)["memory_stats"]
            cache = memory["stats"].get("total_inactive_file", memory["stats"].get("inactive_file"))
            return found[busy.id].memory_bytes == pytest.approx(
                memory["usage"] - cache, abs=128 * 1024
            )

        wait_for(alike, 60, "the same memory, by docker and by dockbus")
        one = found[busy.id]
        assert (one.memory_limit_bytes, one.memory_unlimited) == (MEMORY, False)
        assert one.memory_percent == pytest.approx(100 * (one.memory_bytes or 0) / MEMORY)
        assert one.pids == said["pids_stats"]["current"]
        assert (one.network_rx_bytes, one.network_tx_bytes) == (0, 0)  # it has no network
        assert one.health is HealthStatus.UNKNOWN

        other = found[calm.id]
        assert other.cpu_percent == pytest.approx(0, abs=2)
        assert (other.memory_limit_bytes, other.memory_unlimited) == (engine.info().memory, True)
        assert not other.check_limits()

        (chosen,) = bus.stats(name=busy.name, labels={"tier": "stats"}, engine="local")
        assert chosen.id == busy.id


@pytest.mark.usefixtures("sweeper")
def test_traffic_of_all_interfaces_is_summed(bus: Bus, engine: Engine) -> None:
    networks = [new_network(engine, f"stats-sum-{n}") for n in "ab"]
    try:
        with target(engine, "sleep 1000", networks="stats-sum-a") as talking:
            engine.api.connect_container_to_network(talking.id, "stats-sum-b")

            def interfaces() -> Any:
                said: Any = engine.api.stats(talking.id, stream=False, one_shot=True)
                return said["networks"]

            wait_for(lambda: all(one["rx_bytes"] for one in interfaces().values()), what="traffic")

            def same() -> bool:
                before = interfaces()
                (one,) = bus.stats(name=talking.name)
                sums = [
                    sum(each[word] for each in before.values()) for word in ("rx_bytes", "tx_bytes")
                ]
                assert len(before) == 2
                assert one.network_rx_bytes >= sums[0] > 0
                return [
                    one.network_rx_bytes,
                    one.network_tx_bytes,
                ] == sums  # nobody talks for a moment

            wait_for(same, what="the same numbers")
    finally:
        for network in networks:
            engine.api.remove_network(network["Id"])


@pytest.mark.usefixtures("sweeper")
def test_three_are_watched_together_and_one_that_goes_neither_stays_nor_stops_the_others(
    bus: Bus, engine: Engine
) -> None:
    rounds: list[list[ContainerStats]] = []
    with contextlib.ExitStack() as stack:
        names = [stack.enter_context(target(engine, BUSY, cpus=0.05)).name for _ in range(3)]
        before = threading.active_count()
        watch = bus.stats.watch(name=names, interval=0.2).start(rounds.append)
        wait_for(lambda: rounds and len(rounds[-1]) == 3, what="all three")
        assert all(one.cpu_percent for one in rounds[-1])
        engine.containers.remove(names[1], force=True)
        wait_for(
            lambda: [one.name for one in rounds[-1]] == sorted([names[0], names[2]]),
            what="the other two",
        )
        seen = len(rounds)
        wait_for(lambda: len(rounds) > seen + 1, what="them to go on")
        assert all(len(found) == 2 for found in rounds[seen:])
        begun = time.monotonic()
        watch.stop()
        assert time.monotonic() - begun < 1
        assert threading.active_count() <= before + 1  # the Engine's sweep may have one left


def test_nothing_is_measured_while_nobody_asks(bus: Bus, sweeper: Sweeper) -> None:
    def beats() -> float:
        score: Any = bus.redis.zscore(WORKERS, "local")  # pyright: ignore[reportUnknownMemberType]
        return float(score)

    first = beats()
    wait_for(lambda: beats() >= first + 2, what="it to look for a wish")

    assert sweeper._last.duration == 0  # pyright: ignore[reportPrivateUsage]  there was no sweep


def test_an_engine_that_is_away_is_told(bus: Bus, settings: Settings) -> None:
    gone = settings.engine.model_copy(update={"host": "unix:///nowhere/docker.sock"})
    with metrics_worker(settings.model_copy(update={"engine": gone})):
        wait_for(lambda: bus.redis.exists(WORKERS), what="the metrics worker")
        with pytest.raises(StatsUnavailable, match="local: the Engine does not answer"):
            bus.stats()


def test_a_metrics_worker_that_stops_says_so(bus: Bus, settings: Settings) -> None:
    with metrics_worker(settings):
        wait_for(lambda: bus.redis.exists(WORKERS), what="the metrics worker")
    with pytest.raises(StatsUnavailable, match="there is no metrics worker"):
        bus.stats()


def test_one_that_stands_by_publishes_nothing(bus: Bus, settings: Settings) -> None:
    asked: list[bool] = []

    def leads() -> bool:
        asked.append(True)
        return False

    with metrics_worker(settings, leads):
        wait_for(lambda: len(asked) > 2, what="it to ask whether it leads")
        with pytest.raises(StatsUnavailable, match="there is no metrics worker"):
            bus.stats()


def test_a_redis_that_was_away_is_served_again(
    bus: Bus, settings: Settings, engine: Engine, base_image: str
) -> None:
    with Plug(settings.redis.url.removeprefix("unix://")) as plug:
        redis = settings.redis.model_copy(update={"url": f"redis://127.0.0.1:{plug.port}"})
        plugged = settings.model_copy(update={"redis": redis})
        with metrics_worker(plugged), target(engine, "sleep 1000") as one:
            wait_for(lambda: bus.redis.exists(WORKERS), what="the metrics worker")
            plug.pull()
            wait_for(lambda: plug.refused > 1, what="the outage")
            plug.put_back()
            bus.redis.delete(WORKERS)
            wait_for(lambda: bus.redis.exists(WORKERS), what="the metrics worker")
            assert [found.id for found in bus.stats(name=one.name)] == [one.id]


def test_health_is_one_of_four_with_what_the_last_probe_said(
    bus: Bus, engine: Engine, sweeper: Sweeper
) -> None:
    def probed(command: str, start_period: float | None = None) -> Any:
        check = Healthcheck(
            test=["sh", "-c", command], interval=0.5, retries=1, start_period=start_period
        )
        return target(engine, "sleep 1000", healthcheck=check)

    with (
        watching(engine, bus),
        served(bus) as api,
        probed("true") as healthy,
        probed("echo no route to the moon; exit 1") as unhealthy,
        probed("exit 1", 600.0) as starting,
        target(engine, "sleep 1000") as unknown,
    ):
        client: httpx.Client = api
        client.timeout = httpx.Timeout(20)
        expected = {
            healthy.id: ("healthy", ""),
            unhealthy.id: ("unhealthy", "no route to the moon\n"),
            starting.id: ("starting", ""),
            unknown.id: ("unknown", ""),
        }

        def told() -> dict[str, tuple[str, str]]:
            answers = {one: client.get(f"/v1/containers/{one}/health").json() for one in expected}
            return {one: (said.get("health"), said.get("probe")) for one, said in answers.items()}

        wait_for(lambda: told() == expected, what="the health of all")
        measured = {one["id"]: one["health"] for one in client.get("/v1/stats").json()}
        assert {one: measured[one] for one in expected} == {
            one: health for one, (health, _) in expected.items()
        }


def test_the_metrics_worker_serves_the_command_line(
    start: Launch, settings: Settings, engine: Engine, bus: Bus, base_image: str
) -> None:
    free = settings.model_copy(update={"metrics": MetricsSettings(port=0)})
    start("metrics", settings=free).wait_until_said("metrics at")
    variables = environment(settings)
    names = ("DOCKBUS_REDIS_URL", "DOCKBUS_BUS_KEY", "DOCKBUS_BUS_DATA_DIR")
    dockbus = CommandLine(PROGRAM, **{name: variables[name] for name in names})
    with target(engine, BUSY, cpus=0.1) as busy:
        wait_for(lambda: bus.redis.exists(WORKERS), what="the metrics worker")
        (line,) = dockbus.ok("stats", busy.name).splitlines()[1:]

    assert line.split()[:3] == ["local", busy.id[:12], busy.name]
    assert 2 < float(line.split()[3]) < 20
