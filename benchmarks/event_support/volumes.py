"""Volumes: the cheapest thing of which an Engine tells.

Asked for over one plain connection, so that the Engine is measured, not the SDK.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Generator
from http.client import HTTPConnection
from itertools import count

LABEL = "dockbus.bench"
_numbers = count()


class Volumes:
    """Volumes on the Engine of a Unix socket; all of them go with `clear`."""

    def __init__(self, host: str) -> None:
        self._connection = HTTPConnection("localhost")
        self._connection.sock = socket.socket(socket.AF_UNIX)
        self._connection.sock.connect(host.removeprefix("unix://"))
        self._made: list[str] = []

    def make(self) -> float:
        """One more; the seconds that took."""
        name = f"bench-{next(_numbers)}"
        self._made.append(name)
        begun = time.perf_counter()
        self._ask("POST", "/volumes/create", {"Name": name, "Labels": {LABEL: "1"}})
        return time.perf_counter() - begun

    def clear(self) -> None:
        """Remove all that were made."""
        for name in self._made:
            self._ask("DELETE", f"/volumes/{name}")
        self._made.clear()

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def _ask(self, method: str, path: str, body: object = None) -> None:
        text = json.dumps(body) if body else None
        self._connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {said!r}")


@contextlib.contextmanager
def deaf_subscriber(host: str) -> Generator[None]:
    """Somebody who has asked for events, and reads none."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(host.removeprefix("unix://"))
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.recv(1)  # it has begun to answer
        yield
