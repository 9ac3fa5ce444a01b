"""A recorded stream of events, and a stand-in for the Engine it is of: it answers at once, and is read at any speed.

The events are those of many containers that live side by side: made, started, probed (three events that nobody is
told of, and one of the health), ended, removed; and of an image now and then. What a look at a container shows is its
state after the last event that was read. Events and looks are kept as JSON, and parsed as those of an Engine are.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

from dockbus.engine import Container, ContainerNotFound, Image
from dockbus_producer.docker_events import DockerEvents

ENGINE_ID = "5a5a5a5a-0000-4000-8000-000000000000"
AT_ONCE = 500
"""Containers that there are at the same time."""
AHEAD = 500
"""Events that are read before those are told."""
STEPS = (
    "create",
    "start",
    "exec_create: true",
    "exec_start: true",
    "exec_die",
    "health_status: healthy",
    "die",
    "destroy",
)
EVERY = 100
"""Events of containers to one of an image."""
IMAGES = 20
STATES = {"create": "created", "start": "running", "die": "exited"}


class Entry(NamedTuple):
    """An event as the Engine sends it, and what a look at its container shows from then on."""

    event: str
    container: str = ""
    look: str = ""


@dataclass
class _Life:
    id: str
    step: int = 0
    started: str = "0001-01-01T00:00:00Z"
    finished: str = "0001-01-01T00:00:00Z"


class Recording:
    """The stand-in. Nothing is read before `begin`."""

    name = "local"

    def __init__(self, told: int) -> None:
        """A stream of which so many events are to be told."""
        self.watch: DockerEvents | None = None
        """Who reads; it is let ahead of what it tells by so much only."""
        self.begin = threading.Event()
        self.closed = threading.Event()
        self.containers = SimpleNamespace(get=self._look, all=self._all)
        images = [Image.parse(_image(number)) for number in range(IMAGES)]
        self.images = SimpleNamespace(all=lambda: images)
        self._looks: dict[str, str] = {}
        self._entries = list(record(told))

    def info(self) -> SimpleNamespace:
        """Who answers."""
        return SimpleNamespace(id=ENGINE_ID)

    def events(self, *, since: str = "", until: str = "", idle: float = 0.0) -> _Playback:  # noqa: ARG002
        """Of the past nothing is remembered."""
        return _Playback(self, iter(()))

    def arrivals(self, *, since: str, idle: float) -> _Playback:  # noqa: ARG002
        """The stream."""
        return _Playback(self, self._play())

    def _play(self) -> Iterator[bytes]:
        self.begin.wait()
        for number, entry in enumerate(self._entries):
            if number % 100 == 0:
                self._wait()
            if entry.container:
                self._looks[entry.container] = entry.look
            yield entry.event.encode() + b"\n"
        self.closed.wait()

    def _wait(self) -> None:
        while self.watch and self.watch.reader and self.watch.reader.waiting > AHEAD:
            time.sleep(0.001)

    def _all(self) -> list[Container]:
        return [Container.parse(json.loads(look)) for look in self._looks.values() if look]

    def _look(self, container: str) -> Container:
        if look := self._looks.get(container):
            return Container.parse(json.loads(look))
        raise ContainerNotFound(container)


class _Playback:
    """A stream, as far as a reader knows one."""

    chunked = False

    def __init__(self, recording: Recording, events: Iterator[bytes]) -> None:
        self._recording = recording
        self._events = events

    def __iter__(self) -> Iterator[bytes]:
        return self._events

    def close(self) -> None:
        """End it."""
        self._recording.closed.set()


def record(told: int) -> Iterator[Entry]:
    """A stream of which so many events are to be told; each time the same, but for its times."""
    dice = random.Random(42)  # noqa: S311  no secret
    lives = [_Life(f"{number:064x}") for number in range(AT_ONCE)]
    made, nano = AT_ONCE, time.time_ns()
    while told:
        nano += dice.randrange(100_000, 900_000)
        if told % EVERY == 0:
            yield Entry(_event("image", "tag", f"sha256:{told:064x}", nano, name="shop/web:1"))
            told -= 1
            continue
        place = dice.randrange(AT_ONCE)
        life = lives[place]
        action = STEPS[life.step]
        yield _entry(life, action, nano)
        told -= not action.startswith("exec_")
        life.step += 1
        if life.step == len(STEPS):
            lives[place] = _Life(f"{made:064x}")
            made += 1


def _entry(life: _Life, action: str, nano: int) -> Entry:
    seconds, rest = divmod(nano - 50_000, 10**9)  # an event comes after what it tells of
    now = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"
    if action == "start":
        life.started = now
    elif action == "die":
        life.finished = now
    code = {"exitCode": "1"} if action == "die" else {}
    event = _event("container", action, life.id, nano, **_facts(life), **_labels(life), **code)
    return Entry(event, life.id, "" if action == "destroy" else json.dumps(_inspect(life, action)))


def _event(type_: str, action: str, actor: str, nano: int, **attributes: str) -> str:
    return json.dumps(
        {
            "status": action,
            "id": actor,
            "Type": type_,
            "Action": action,
            "Actor": {"ID": actor, "Attributes": attributes},
            "scope": "local",
            "time": nano // 10**9,
            "timeNano": nano,
        }
    )


def _facts(life: _Life) -> dict[str, str]:
    return {"name": f"shop-web-{int(life.id, 16)}", "image": "shop/web:1"}


def _labels(life: _Life) -> dict[str, str]:
    """Six, as compose would put them."""
    return {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "web",
        "com.docker.compose.container-number": str(int(life.id, 16)),
        "com.docker.compose.config-hash": life.id,
        "team": "blue",
        "web.domain": f"web-{int(life.id, 16)}.example",
    }


def _inspect(life: _Life, action: str) -> dict[str, Any]:
    """What a look has to say; the Engine says more that nobody reads."""
    facts = _facts(life)
    at = STEPS.index(action)
    status = next(STATES[step] for step in reversed(STEPS[: at + 1]) if step in STATES)
    running = status == "running"
    health = "healthy" if at >= STEPS.index("health_status: healthy") else "starting"
    return {
        "Id": life.id,
        "Name": f"/{facts['name']}",
        "Image": f"sha256:{1:064x}",
        "Created": "2026-01-01T00:00:00.123456789Z",
        "RestartCount": 0,
        "State": {
            "Status": status,
            "ExitCode": int(status == "exited"),
            "OOMKilled": False,
            "StartedAt": life.started,
            "FinishedAt": life.finished,
            "Health": {"Status": health, "Log": []},
        },
        "Config": {"Image": facts["image"], "Labels": _labels(life)},
        "NetworkSettings": {
            "Networks": {"shop_default": {"IPAddress": "172.20.0.7" if running else ""}},
            "Ports": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]} if running else {},
        },
    }


def _image(number: int) -> dict[str, Any]:
    return {
        "Id": f"sha256:{number:064x}",
        "RepoTags": [f"shop/web:{number}"],
        "RepoDigests": [],
        "Size": 10**8,
        "Created": 1_767_225_600,
        "Labels": {},
    }
