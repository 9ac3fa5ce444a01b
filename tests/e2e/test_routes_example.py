"""The example that keeps a file of routes, run as its reader would: beside `dockbus watch` and a real Engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from dockbus import Bus, Settings
from dockbus.engine import ContainerSpec, Engine
from dockbus.jobs.running import Network, Port
from processes import Program, environment
from waiting import wait_for

EXAMPLE = Path(__file__).parents[2] / "examples" / "routes" / "routes.py"


class Agent:
    """The example, running: what it has written to its file, and to its log."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.file = folder / "routes.json"
        self.copy = folder / "copy.json"
        self.log = folder / "routes.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, EXAMPLE, self.file, "cp", self.file, self.copy],
                env=environment(settings),
                stderr=log,
            )

    def targets(self) -> dict[str, str]:
        """The target of each domain."""
        routes: dict[str, Any] = json.loads(self.file.read_text()) if self.file.exists() else {}
        return {domain: route["target"] for domain, route in routes.items()}

    def holder(self, domain: str) -> str:
        routes: dict[str, Any] = json.loads(self.file.read_text())
        return str(routes[domain]["container"]) if domain in routes else ""

    def said(self, words: str) -> None:
        wait_for(lambda: words in self.log.read_text(), what=words)


@pytest.fixture
def run(engine: Engine, base_image: str) -> Generator[Callable[..., str]]:
    """Runs a container with these labels below `web.`; gives its ID."""
    with ExitStack() as stack:

        def start(ports: list[Port] | None = None, network: str = "bridge", **labels: str) -> str:
            given = {f"web.{name}": value for name, value in labels.items()}
            made = engine.containers.create(
                ContainerSpec(
                    name=f"routes-{token_hex(4)}",
                    image=base_image,
                    labels={"dockbus.test": "1", "web.enabled": "true", **given},
                    command=["sleep", "1000"],
                    networks=[Network(name=network)],
                    ports=ports or [],
                )
            )
            stack.callback(engine.containers.remove, made, force=True)
            engine.containers.start(made)
            return made

        yield start


@pytest.fixture
def agent(bus: Bus, settings: Settings, tmp_path: Path) -> Generator[Callable[[], Agent]]:
    with ExitStack() as stack:

        def start() -> Agent:
            agent = Agent(settings, tmp_path)
            stack.callback(agent.process.wait)
            stack.callback(agent.process.kill)
            return agent

        yield start


def test_routes_follow_the_containers(
    engine: Engine,
    start: Callable[..., Program],
    run: Callable[..., str],
    agent: Callable[[], Agent],
) -> None:
    web = run([Port(container=80)], domain="Shop.example", port="80", description="the shop")
    host = run(network="host", domain="host.example", port="3000")
    start("watch")
    routes = agent()
    wait_for(lambda: len(routes.targets()) == 2, what="the routes of what ran before")
    public = engine.containers.get(web).ports[0].host
    assert routes.targets() == {
        "host.example": "localhost:3000",
        "shop.example": f"127.0.0.1:{public}",
    }

    begun = time.monotonic()
    api = run(domain="api.example", port="3000")
    wait_for(lambda: "api.example" in routes.targets(), what="the route of a new container")
    took = time.monotonic() - begun
    address = engine.containers.get(api).addresses["bridge"]
    assert routes.targets()["api.example"] == f"{address}:3000"
    assert took < 5.0  # about half a second where nothing else is done

    second = run(domain="shop.example", port="81")
    routes.said("conflict: shop.example belongs to container " + web[:12])
    run(domain="bad_name", port="x")
    routes.said("web.domain='bad_name': it is not a host name")
    assert routes.holder("shop.example") == web

    os.kill(engine.containers.get(web).pid, signal.SIGKILL)  # dies, and nobody has stopped it
    wait_for(lambda: routes.holder("shop.example") == second, what="the next one's turn")
    engine.containers.stop(host, timeout=0)
    engine.containers.stop(api, timeout=0)
    wait_for(lambda: set(routes.targets()) == {"shop.example"}, what="the ends")
    engine.containers.start(api)
    wait_for(lambda: routes.holder("api.example") == api, what="the next life")
    wait_for(lambda: routes.copy.read_text() == routes.file.read_text(), what="the command")

    asked = time.monotonic()
    routes.process.terminate()
    assert routes.process.wait(10) == 0
    assert time.monotonic() - asked < 5.0
    assert set(routes.targets()) == {"shop.example", "api.example"}  # its end is not theirs


def test_what_ended_while_the_example_was_off_is_out_of_its_file(
    start: Callable[..., Program], agent: Callable[[], Agent], tmp_path: Path
) -> None:
    file = tmp_path / "routes.json"
    file.write_text('{"old.example": {"target": "localhost:1"}}')
    start("watch").wait_until_said("watching")

    routes = agent()

    wait_for(lambda: routes.targets() == {}, what="an empty file")
    assert routes.file == file
