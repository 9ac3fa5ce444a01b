"""Services as tests scale them: a controller of one service, what it told, and a real Compose project of workers."""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import importlib.util
import json
import secrets
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dockbus import Bus, Settings
from dockbus.engine import Container, Engine
from dockbus_workers.scaling.compose import PROJECT
from dockbus_workers.scaling.controller import Controller
from dockbus_workers.scaling.metrics import ScalerMetrics
from dockbus_workers.scaling.services import Service
from processes import environment

ROOT = Path(__file__).parent.parent
SHELL = ["sh", "-c", "trap exit TERM; sleep 600 & wait"]
"""What stands in for a worker where only containers matter."""


def controller(
    bus: Bus, engine: Engine, project: str, *, dry_run: bool = False, **fields: Any
) -> Controller:
    """One that scales the service `worker`, and takes away at once what is too much."""
    given = {"project": project, "service": "worker", "queue": "run", "max": 8}
    service = Service.model_validate(given | {"scale_in_window": 0} | fields)
    metrics = ScalerMetrics(engine.name)
    return Controller([service], bus, engine, metrics, dry_run=dry_run)


def works(bus: Bus, container: str, state: str) -> None:
    """Have the bus believe that a worker in that container says so of itself."""
    redis: Any = bus.redis
    for queues in ("run", "run@local"):
        key = f"rq:worker:{container[:12]}-run-{queues}"
        redis.hset(key, mapping={"queues": queues, "state": state, "slots": 4})
        redis.sadd("rq:workers", key)


def told(bus: Bus) -> list[dict[str, Any]]:
    """What scalers have told, oldest first."""
    found = bus.events(since="0", follow=False, types="io.dockbus.scaler.*")
    return [it.event.data | {"what": it.event.type.rpartition(".")[2]} for it in found]


def containers(engine: Engine, project: str) -> list[Container]:
    """All that the project has."""
    return engine.containers.all(labels={PROJECT: project})


def running(engine: Engine, project: str) -> list[str]:
    """The names of those that run."""
    return sorted(it.name for it in containers(engine, project) if it.state == "running")


class Stack:
    """A Compose project of one service `worker`, on two networks and with a volume that has no name."""

    def __init__(
        self, project: str, settings: Settings, folder: Path, command: Sequence[str]
    ) -> None:
        self.project = project
        self._file = folder / "compose.json"
        self._env = environment(settings)
        given = {name: text for name, text in self._env.items() if name.startswith("DOCKBUS_")}
        sockets = [
            address.removeprefix("unix://")
            for address in (
                settings.redis.url,
                settings.engine.host or "unix:///var/run/docker.sock",
            )
        ]
        # The base image has no Python: a worker runs this machine's.
        places = {"/usr", "/lib", "/lib64", sys.base_prefix, sys.prefix, str(ROOT), *sockets}
        worker = {
            "image": "dockbus/base:1",
            "command": command,
            "environment": {name: text.replace("$", "$$") for name, text in given.items()}
            | {"PYTHONDONTWRITEBYTECODE": "1"},
            "volumes": [f"{it}:{it}:ro" for it in sorted(places) if Path(it).exists()]
            + ["/scratch"],
            "labels": {"dockbus.test": "1"},
            "stop_grace_period": "20s",
            "networks": {"default": None, "second": {"aliases": ["busy-hands"]}},
        }
        networks = {"default": None, "second": None}
        self._file.write_text(json.dumps({"services": {"worker": worker}, "networks": networks}))

    def call(self, *words: str) -> str:
        """What `docker compose` says on standard output."""
        done = subprocess.run(
            [docker_compose(), "-p", self.project, "-f", self._file, *words],
            env=self._env | {"DOCKER_HOST": self._env["DOCKBUS_ENGINE_HOST"]},
            check=False,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def docker_compose() -> Path:
    """The program in the wheel, whose own wrapper hides the exit code."""
    wheel = importlib.util.find_spec("compose")
    assert wheel is not None
    assert wheel.origin is not None
    return Path(wheel.origin).parent / "docker-compose"


@contextmanager
def stack(
    settings: Settings, engine: Engine, folder: Path, command: Sequence[str]
) -> Generator[Stack]:
    """A project that is not up yet; nothing of it is left after the block."""
    made = Stack(f"scale-{secrets.token_hex(3)}", settings, folder, command)
    try:
        yield made
    finally:
        for each in containers(engine, made.project):
            engine.containers.remove(each.id, force=True)
        for network in engine.networks.all():
            if network.name.startswith(f"{made.project}_"):
                engine.networks.remove(network.id)
