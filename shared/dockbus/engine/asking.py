"""Short questions to one Engine: one that every job asks, or many under way at the same time in the thread of who asks.

The SDK's session for each question, and a thread where a hundred are asked, cost more than the answer does. Connections
are kept for the next questions; one that the Engine has closed meanwhile is made anew.
"""

from __future__ import annotations

import selectors
import time
import weakref
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection

from urllib3.util.wait import wait_for_read

from dockbus.engine.connections import Connections
from dockbus.engine.errors import EngineError, EngineTimeout, refusal, translated

Answers = Generator[tuple[str, bytes | EngineError]]
"""What was asked, and what the Engine says to it or why it says nothing."""

_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class _Question:
    name: str
    until: float
    """When nobody waits for its answer any more."""
    connection: HTTPConnection


class Asker:
    """Asks an Engine, each question for `timeout` seconds at most; safe to share between threads."""

    def __init__(self, connections: Connections, timeout: float) -> None:
        self._connections = connections
        self._timeout = timeout
        self._idle: list[HTTPConnection] = []
        weakref.finalize(self, _close, self._idle)

    def close(self) -> None:
        """Let go of the connections over which nothing is asked now."""
        _close(self._idle)

    def call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The Engine's answer to one question; `body` is JSON.

        Raises:
            EngineError: there is none, or it is a refusal.
        """
        said = self._read(self._send(method, path, time.monotonic() + self._timeout, body))
        if isinstance(said, EngineError):
            raise said
        return said

    def ask(self, paths: Mapping[str, str], *, timeout: float, width: int = 1) -> Answers:
        """`GET` each of these paths, and tell by its name what came of it, as it comes.

        Args:
            paths: by name.
            timeout: seconds for all; what is not answered by then is an `EngineTimeout`.
            width: questions at the same time.
        """
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            asked = selector.get_map()
            try:
                for name, path in paths.items():
                    while len(asked) >= width:
                        yield from self._hear(selector)
                    until = min(deadline, time.monotonic() + self._timeout)
                    try:
                        connection = self._send("GET", path, until)
                    except EngineError as error:
                        yield name, error
                    else:
                        question = _Question(name, until, connection)
                        selector.register(connection.sock, selectors.EVENT_READ, question)
                while asked:
                    yield from self._hear(selector)
            finally:
                for key in asked.values():
                    key.data.connection.close()

    def _hear(self, selector: selectors.BaseSelector) -> Answers:
        """The answers that are there, at least one; after too long, that there is none to the oldest question."""
        oldest = next(iter(selector.get_map().values()))
        ready = selector.select(max(0.0, oldest.data.until - time.monotonic()))
        for key in [key for key, _ in ready] or [oldest]:
            question: _Question = key.data
            selector.unregister(key.fileobj)
            if ready:
                yield question.name, self._read(question.connection)
            else:
                question.connection.close()
                yield question.name, EngineTimeout()

    def _send(
        self, method: str, path: str, until: float, body: bytes | None = None
    ) -> HTTPConnection:
        left = until - time.monotonic()
        if left <= 0:
            raise EngineTimeout
        connection = self._kept() or self._connections.connect(left)
        try:
            with translated():
                connection.sock.settimeout(left)
                connection.request(method, path, body, _JSON if body else {})
        except EngineError:
            connection.close()
            raise
        return connection

    def _kept(self) -> HTTPConnection | None:
        """A connection over which nothing is asked now and which the Engine has not closed, if there is one."""
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if not wait_for_read(connection.sock, 0.0):
                    return connection
                connection.close()
        return None

    def _read(self, connection: HTTPConnection) -> bytes | EngineError:
        try:
            with translated():
                answer = connection.getresponse()
                body = answer.read()
        except EngineError as error:
            connection.close()
            return error
        if connection.sock:  # else the Engine wanted it closed
            self._idle.append(connection)
        if answer.status < 300 or answer.status == HTTPStatus.NOT_MODIFIED:  # it was so already
            return body
        return refusal(answer.status, body)


def _close(connections: list[HTTPConnection]) -> None:
    with suppress(IndexError):
        while True:
            connections.pop().close()
