"""What a scrape of a real Engine says beside its containers: where the numbers come from, what is left out, who stands by."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from containers import container
from dockbus.engine import Engine
from dockbus.settings import Settings
from dockbus_workers.metrics.sweep import Sweep
from scrapes import scrape, sweeping
from waiting import wait_for


@pytest.fixture
def five(engine: Engine, base_image: str) -> Generator[list[str]]:
    """The names of five containers that do nothing, oldest first."""
    with ExitStack() as stack:
        made = [stack.enter_context(container(engine, "sleep 1000")) for _ in range(5)]
        yield [engine.containers.get(one).name for one in made]


def test_scrapes_at_the_same_time_share_one_sweep(settings: Settings, five: list[str]) -> None:
    found: list[Sweep] = []
    with sweeping(settings) as sweeper:
        threads = [
            threading.Thread(target=lambda: found.append(sweeper.sweep(30))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(found) == 4
    assert all(one is found[0] for one in found)
    assert set(five) <= {one.name for one in found[0].samples}


def test_the_source_is_chosen_by_what_is_there(
    settings: Settings, five: list[str], engine: Engine
) -> None:
    version = tuple(map(int, engine.api.api_version.split(".")))
    with sweeping(settings, cgroups=False) as sweeper:
        found = scrape(sweeper)
    sources = [one.labels["source"] for one in found if one.name == "dockbus_sweep_source"]
    assert sources == ["one-shot" if version >= (1, 44) else "wide-one-shot"]
    if not Path("/sys/fs/cgroup").exists() or not engine.host.startswith("unix://"):
        pytest.skip("the Engine's control groups are not seen here")
    with sweeping(settings) as sweeper:
        assert scrape(sweeper).value("dockbus_sweep_source", source="cgroup") == 1


def test_a_standby_asks_for_no_container(settings: Settings, five: list[str]) -> None:
    with sweeping(settings, cgroups=False) as sweeper:
        found = scrape(sweeper, leads=False)

    assert found.value("dockbus_engine_up") == 1
    assert {one.name for one in found} == {
        "dockbus_engine_up",
        "dockbus_inventory_age_seconds",
        "dockbus_engine_requests_total",
    }


def test_too_many_series_leave_the_newest_container_out(
    settings: Settings, five: list[str]
) -> None:
    with sweeping(settings, series=100) as sweeper:
        wait_for(lambda: set(five) <= {one.name for one in sweeper.sweep(30).samples})
        found = scrape(sweeper)
        there = len(sweeper.sweep(30).samples)

    told = {one.labels["name"] for one in found if one.name == "container_last_seen"}
    assert found.value("dockbus_containers_left_out") == there - len(told) >= 1
    assert five[-1] not in told
    series = sum(one.name.startswith("container_") for one in found)
    assert found.value("dockbus_series") == series <= 100
