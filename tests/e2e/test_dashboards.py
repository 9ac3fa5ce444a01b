"""Everything that can be seen in Grafana, asked of a real Prometheus that has watched a real bus at work.

Jobs of all kinds, failures, kills for memory, restarts, an Engine and a Redis that are lost and come back: afterwards
every expression of every panel, variable, annotation and recording rule has a result, and of every alert all that it reads.
Grafana itself is not there: what it draws of these results is not tested.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import stock_dashboards
from dashboards import Expression, expressions, selectors, substituted
from dockbus import Bus
from dockbus.connection import connect
from dockbus.engine import Engine
from dockbus.errors import MissingTool
from dockbus.settings import (
    EngineSettings,
    RedisSettings,
)
from monitored import QUEUES, World, await_all, happenings, world_settings
from outage import Plug
from processes import Program
from prometheus_server import free_port, prometheus
from receivers import receiver
from runs import shell
from waiting import wait_for

pytestmark = pytest.mark.timeout(420)

PLATFORM = {
    "container_pressure_cpu_waiting_seconds_total": "control groups of version 2",
    "container_pressure_memory_waiting_seconds_total": "control groups of version 2",
    "container_pressure_io_waiting_seconds_total": "control groups of version 2",
    "container_fs_reads_bytes_total": "a kernel that accounts for block devices",
    "container_fs_writes_bytes_total": "a kernel that accounts for block devices",
    "container_blkio_device_usage_total": "a kernel that accounts for block devices",
    "dockbus_run_read_bytes_total": "a kernel that accounts for block devices",
    "dockbus_run_write_bytes_total": "a kernel that accounts for block devices",
}
"""Metrics that need more than every machine has; where they are not exported, or are nothing but 0, nothing is asked."""
QUIET = {"containers.json: Packets that did not arrive": "a network that loses packets"}
"""Panels that are empty while all is well, and what it takes to see something there."""


@pytest.fixture(scope="module")
def world(
    engine_host: str,
    engine: Engine,
    redis_url: str,
    base_image: str,
    registry: str,
    scratch: Path,
    say: Callable[[str], None],
) -> Generator[World]:
    """A bus with all its programs, after all that has to happen has happened."""
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="dkb-")))
        ports = {name: free_port() for name in (*QUEUES, "api", "watch", "scale", "metrics")}
        plug = held.enter_context(Plug(engine_host.removeprefix("unix://")))
        redis_plug = held.enter_context(Plug(redis_url.removeprefix("unix://")))
        redis: Any = held.enter_context(connect(redis_url))
        redis.flushall()
        held.callback(redis.flushall)
        held.callback(redis.config_set, "maxmemory", 0)
        redis.config_set("maxmemory", 2 * 1024**3)
        good, bad = (held.enter_context(receiver()) for _ in range(2))
        settings = world_settings(folder, redis_url, engine_host, good, bad)
        bus = held.enter_context(Bus(settings))
        try:
            server = held.enter_context(
                prometheus(
                    folder,
                    {
                        "dockbus-metrics": [f"127.0.0.1:{ports['metrics']}"],
                        "dockbus-process": [
                            f"127.0.0.1:{port}" for name, port in ports.items() if name != "metrics"
                        ],
                    },
                    scratch,
                    say,
                )
            )
        except MissingTool as error:
            if os.environ.get("CI") or os.environ.get("DOCKBUS_CI"):
                pytest.fail(str(error), pytrace=False)
            pytest.skip(str(error))
        programs: list[Program] = []

        def start(name: str, *words: str, **groups: Any) -> Program:
            own = settings.metrics.model_copy(update={"own_port": ports[name]})
            if name == "metrics":
                own = settings.metrics.model_copy(update={"port": ports[name]})
            given = settings.model_copy(update={"metrics": own, **groups})
            program = Program(list(words), given, folder / f"{name}-{len(programs)}.log")
            programs.append(program)
            held.callback(program.stop)
            return program

        start("metrics", "metrics")
        start(
            "watch",
            "watch",
            engine=EngineSettings(host=f"tcp://127.0.0.1:{plug.port}", timeout=10.0),
        )
        api = start(
            "api",
            "api",
            redis=RedisSettings(url=f"redis://127.0.0.1:{redis_plug.port}/0"),
        )
        start("scale", "scale")
        for queue in QUEUES:
            start(queue, "worker", queue)
        await_all(server, programs)
        said = wait_for(lambda: re.search(r"http://127\.0\.0\.1:\d+", api.log.read_text()))
        world = World(
            bus,
            engine,
            plug,
            redis_plug,
            said[0],
            folder,
            settings,
            server,
            start,
            base_image,
            registry,
            ports["metrics"],
            time.time(),
        )
        wait_for(lambda: server.query("dockbus_redis_up == 1"), 30, "the bus to be scraped")
        wait_for(lambda: any(one.resynced for one in bus.snapshot.engines()), 60, "the first look")
        for happen in happenings(world, held):
            happen()
        busy = bus.enqueue(shell("exec sleep 300", stop_timeout=0))
        wait_for(lambda: busy.refresh().started, 60, "a worker to be busy")
        yield world
        busy.cancel()
        wait_for(lambda: busy.refresh().ended, 60, "its end")


# -- what can be seen ----------------------------------------------------------------------------


def unanswered(world: World, asked: list[tuple[str, str]], seconds: float = 60.0) -> list[str]:
    """Which of these (what it is, query) have given nothing at any time, and do not in that many seconds."""
    left = asked
    deadline = time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        left = [(what, query) for what, query in left if not world.has_shown(query)]
        time.sleep(1.0 if left else 0.0)
    return [f"{what}: {query}" for what, query in left]


def queries(expression: Expression) -> Iterator[tuple[str, str]]:
    """What has to give a result: the expression itself; where that is quiet while all is well, what it reads."""
    if expression.kind != "alert" and expression.where not in QUIET:
        yield expression.where, substituted(expression.text)
        return
    for selector in selectors(expression.text):
        yield expression.where, substituted(selector.text)


def is_there(world: World, metric: str) -> bool:
    return metric not in PLATFORM or bool(world.prometheus.query(f"{metric} > 0"))


def test_every_expression_of_every_panel_variable_annotation_and_rule_has_a_result(
    world: World,
) -> None:
    asked = [
        query
        for expression in expressions()
        if all(is_there(world, it.metric) for it in selectors(expression.text))
        for query in queries(expression)
    ]

    assert len(asked) > 150
    left = unanswered(world, asked)
    assert not left, "\n".join(left)


def test_a_metric_by_another_name_is_noticed(world: World) -> None:
    panels = [each for each in expressions() if each.kind == "panel"]
    renamed = [
        (each.where, substituted(re.sub(r"\b(container|dockbus|rq)_", r"\1_renamed_", each.text)))
        for each in panels
        if re.search(r"\b(container|dockbus|rq)_", each.text)
        and not re.search(r"\bor\b|absent|vector", each.text)
    ]

    assert len(renamed) > 60
    assert len(unanswered(world, renamed, seconds=0.5)) == len(renamed)


def test_stock_dashboards_show_what_they_are_made_for(world: World) -> None:
    """And the page that says so says what was seen here."""
    instance = next(
        it for it in world.prometheus.targets() if it.endswith(f":{world.metrics_port}")
    )
    chosen = {"job": "dockbus-metrics", "instance": instance}
    left = unanswered(
        world,
        [
            (f"{it.dashboard} {it.written}", it.asked)
            for dashboard in stock_dashboards.STOCK
            for it in dashboard.queries(chosen)
            if it.written not in stock_dashboards.EMPTY
        ],
    )
    assert not left, "\n".join(left)
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
    assert stock_dashboards.table() in page, (
        f"docs/monitoring.md has to have:\n{stock_dashboards.table()}"
    )
