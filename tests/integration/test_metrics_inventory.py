"""What is known of an Engine's containers without asking: by its events, by a list now and then, and after it was away."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import pytest

from containers import container
from dockbus import local
from dockbus.engine import Engine, EngineEvent
from dockbus.settings import EngineSettings, Settings
from dockbus_workers.metrics.calls import Calls
from dockbus_workers.metrics.inventory import Inventory
from dockbus_workers.metrics.samples import Facts
from outage import Plug
from scrapes import awaited, inspected, scrape, sweeping
from waiting import wait_for


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockbus_workers.metrics.sweep.REUSE", 0.0)


@pytest.fixture
def inventory(engine_host: str, base_image: str) -> Generator[Inventory]:
    engine = Engine(EngineSettings(host=engine_host))
    inventory = Inventory(engine, Calls())
    assert inventory.wait(30)
    yield inventory
    inventory.close()
    engine.close()


def known(inventory: Inventory, id_: str) -> Facts | None:
    return next((one for one in inventory.running if one.id == id_), None)


def test_a_container_is_known_from_its_start_to_its_end(
    inventory: Inventory, engine: Engine
) -> None:
    with container(engine, "sleep 1000", start=False) as made:
        wait_for(lambda: inventory.states["created"], what="it to be made")
        assert known(inventory, made) is None
        engine.containers.start(made)
        facts = wait_for(lambda: known(inventory, made), what="its start")
        assert facts.pid == engine.containers.get(made).pid
        engine.containers.stop(made, timeout=0)
        wait_for(lambda: known(inventory, made) is None, what="its end")
        wait_for(lambda: inventory.states["exited"], what="it to count as stopped")
    wait_for(lambda: not inventory.states["exited"], what="it to be gone")


def test_what_changes_is_known_at_once(inventory: Inventory, engine: Engine) -> None:
    with container(engine, "sleep 1000") as made:
        facts = wait_for(lambda: known(inventory, made))

        def becomes(is_so: Callable[[Facts], bool]) -> None:
            wait_for(lambda: (now := known(inventory, made)) and is_so(now))

        engine.api.rename(made, f"{facts.name}-new")
        becomes(lambda now: now.name == f"{facts.name}-new")
        engine.api.update_container(made, mem_limit="48m", memswap_limit="48m")
        becomes(lambda now: now.memory_limit == 48 << 20)
        engine.api.pause(made)
        becomes(lambda now: now.state == "paused")
        engine.api.unpause(made)
        becomes(lambda now: now.state == "running")
        engine.api.restart(made, timeout=0)
        becomes(lambda now: now.pid != facts.pid and now.started != facts.started)


def test_a_container_is_inspected_when_something_happens_to_it_only(
    inventory: Inventory, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = inspected(inventory._engine, monkeypatch)
    with container(engine, "sleep 1000") as made:

        def rename(name: str) -> int:
            """How often it has been inspected when that is known."""
            engine.api.rename(made, name)
            wait_for(lambda: (now := known(inventory, made)) and now.name == name)
            return asked.count(made)

        settled = rename(f"dockbus-test-{made[:12]}")
        for _ in range(3):  # what happens in it tells the Engine's listeners, too
            ran = engine.api.exec_create(made, ["true"])["Id"]
            engine.api.exec_start(ran)
        assert rename(f"dockbus-test-{made[:13]}") == settled + 1


def test_what_was_not_heard_is_found_by_the_list(
    inventory: Inventory, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:

    def deaf(_event: EngineEvent) -> None:
        """As if nothing were heard."""

    monkeypatch.setattr(inventory, "_apply", deaf)
    with container(engine, "sleep 1000") as first:
        assert inventory.age < 60
        time.sleep(0.3)
        assert known(inventory, first) is None
        monkeypatch.setattr("dockbus_workers.metrics.inventory.RESYNC", 0.2)
        # An event ends the wait that has begun with the time of before.
        with container(engine, "sleep 1000") as second:
            wait_for(lambda: known(inventory, first) and known(inventory, second))
        wait_for(lambda: known(inventory, second) is None)
        assert known(inventory, first)


def test_a_stream_that_was_silent_for_long_is_opened_anew_and_nothing_forgotten(
    engine_host: str, engine: Engine, base_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockbus_workers.metrics.inventory.IDLE", 0.2)
    with container(engine, "sleep 1000") as made, Plug(engine_host.removeprefix("unix://")) as plug:
        other = Engine(EngineSettings(host=f"tcp://127.0.0.1:{plug.port}"))
        inventory = Inventory(other, Calls())
        assert inventory.wait(30)
        first = plug.carried

        def reopened() -> bool:
            assert known(inventory, made), "it is known all the time"
            return plug.carried >= first + 3

        wait_for(reopened, what="two more streams")
        with container(engine, "sleep 1000") as later:
            wait_for(lambda: known(inventory, later), what="what comes after")
        inventory.close()
        other.close()


def test_an_engine_that_was_away_is_compared_when_it_is_back(
    settings: Settings, engine_host: str, engine: Engine, base_image: str
) -> None:
    with Plug(engine_host.removeprefix("unix://")) as plug:
        away = EngineSettings(host=f"tcp://127.0.0.1:{plug.port}")
        with (
            sweeping(settings.model_copy(update={"engine": away})) as sweeper,
            container(engine, "sleep 1000") as changed,
        ):
            take = partial(scrape, sweeper)
            with container(engine, "sleep 1000") as removed:
                names = [engine.containers.get(one).name for one in (changed, removed)]
                for name in names:
                    wait_for(lambda name=name: scrape(sweeper).of(name))  # type: ignore[misc]
                plug.pull()
                down = awaited(take, lambda page: not page.value("dockbus_engine_up"))
                assert not any(one.name.startswith("container_") for one in down)
                engine.api.update_container(changed, mem_limit="48m", memswap_limit="48m")
            with container(engine, "sleep 1000") as made:
                new = engine.containers.get(made).name
                plug.put_back()
                page = awaited(take, lambda page: page.of(new))
    assert page.value("dockbus_engine_up") == 1
    assert page.of(names[0])["container_spec_memory_limit_bytes"] == 48 << 20
    assert not page.of(names[1])


def test_an_engine_that_hangs_is_down_in_time(
    settings: Settings, engine_host: str, engine: Engine, base_image: str
) -> None:
    with Plug(engine_host.removeprefix("unix://")) as plug:
        away = EngineSettings(host=f"tcp://127.0.0.1:{plug.port}", timeout=2.0)
        with sweeping(settings.model_copy(update={"engine": away})) as sweeper:
            assert scrape(sweeper).value("dockbus_engine_up") == 1

            def is_down() -> bool:
                plug.freeze()  # also a connection that was opened since
                begun = time.monotonic()
                page = scrape(sweeper, timeout=1.0)
                assert time.monotonic() - begun < 1.5
                return page.value("dockbus_engine_up") == 0

            wait_for(is_down, what="the Engine to be down")
            plug.thaw()
            wait_for(lambda: scrape(sweeper).value("dockbus_engine_up") == 1)


def test_an_engine_that_starts_anew_is_heard_again(
    settings: Settings, scratch: Path, say: Callable[[str], None]
) -> None:
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("an Engine of its own takes root and `dockerd`")
    folder = scratch.resolve() / "restarted"
    away = EngineSettings(host=f"unix://{folder / 'docker.sock'}")
    with sweeping(settings.model_copy(update={"engine": away})) as sweeper:
        for _ in range(2):
            assert scrape(sweeper).value("dockbus_engine_up") == 0
            with local.private_engine(folder, say) as host:
                wait_for(lambda: scrape(sweeper).value("dockbus_engine_up") == 1)
                fresh = Engine(EngineSettings(host=host))
                image = local.base_image(fresh, scratch, say)
                with container(fresh, "sleep 1000") as made:
                    assert fresh.containers.get(made).image == image
                    wait_for(lambda made=made: known(sweeper.inventory, made))  # type: ignore[misc]
                fresh.close()
            wait_for(lambda: scrape(sweeper).value("dockbus_engine_up") == 0)


@pytest.mark.parametrize("moment", ["before it begins", "while it begins", "while it hears"])
def test_closing_ends_at_once(engine_host: str, moment: str) -> None:
    engine = Engine(EngineSettings(host=engine_host))
    inventory = Inventory(engine, Calls())
    if moment != "before it begins":
        assert inventory.wait(30.0 if moment == "while it hears" else 0.0) or "begins" in moment
    begun = time.monotonic()

    inventory.close()

    assert time.monotonic() - begun < 0.5
    wait_for(lambda: not {"events", "inventory-local"} & threads(), what="its threads to end")
    engine.close()


def test_closing_does_not_wait_for_an_engine_that_is_not_there() -> None:
    nowhere = Inventory(Engine(EngineSettings(host="unix:///nonexistent/docker.sock")), Calls())
    assert not nowhere.wait(0.2)
    begun = time.monotonic()

    nowhere.close()

    assert time.monotonic() - begun < 0.5
    wait_for(lambda: "inventory-local" not in threads(), what="its thread to end")


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}
