"""The HTTP API as its clients meet it: a real server on a loopback port, and its server-sent events read back."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from dockbus import Bus
from dockbus.settings import BusSettings, RedisSettings, Settings
from dockbus_producer.api.app import create_app
from dockbus_producer.api.server import make_server
from waiting import wait_for

TOKEN = "a-token-of-tests"


def bus_settings(redis_url: str, folder: Path) -> Settings:
    """Settings of a bus with a key of its own and no Engine, which the API never talks to."""
    key = SecretStr(secrets.token_hex(32))
    return Settings(redis=RedisSettings(url=redis_url), bus=BusSettings(key=key, data_dir=folder))


@contextlib.contextmanager
def served(bus: Bus) -> Generator[httpx.Client]:
    """A client, with the token, of the API of `bus`, which runs in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        server = make_server(create_app(bus, TOKEN))
        thread = threading.Thread(target=server.run, args=([sock],))
        thread.start()
        try:
            wait_for(lambda: server.started, what="the API")
            bearer = {"Authorization": f"Bearer {TOKEN}"}
            with httpx.Client(base_url=url, headers=bearer, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@dataclass(frozen=True)
class Told:
    """One server-sent event."""

    id: str
    event: str
    data: Any


def told(response: httpx.Response) -> Iterator[Told]:
    """The server-sent events of a response, as they arrive."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
        elif line == "" and "data" in fields:
            data = json.loads(fields["data"])
            yield Told(fields.get("id", ""), fields.get("event", ""), data)
            fields = {}
