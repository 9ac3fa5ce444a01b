"""Short questions to one Engine: one that every job asks, or many under way at the same time in the thread of who asks.

The SDK's session for each question, and a thread where a hundred are asked, cost more than the answer does. Connections
are kept for the next questions; one that the Engine has closed meanwhile is made anew.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import docker.utils
from urllib3.util.wait import wait_for_read

from dockbus.engine.errors import (
    EngineError,
    EngineTimeout,
    EngineUnavailable,
    refusal,
    translated,
)

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
    """Asks the Engine at `host`, each question for `timeout` seconds at most; safe to share between threads."""

    def __init__(self, host: str, cert_path: str, timeout: float) -> None:
        self._host = host
        self._cert_path = cert_path
        self._timeout = timeout
        self._lock = threading.Lock()
        self._idle: list[HTTPConnection] = []
        weakref.finalize(self, _close, self._idle)

    def close(self) -> None:
        """Let go of the connections over which nothing is asked now."""
        with self._lock:
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
        with self._lock:
            connection = self._idle.pop() if self._idle else self._connection()
        if connection.sock and wait_for_read(connection.sock, 0.0):  # the Engine has closed it
            connection.close()
        try:
            with translated():
                if not connection.sock:
                    connection.timeout = left
                    connection.connect()
                connection.sock.settimeout(left)
                connection.request(method, path, body, _JSON if body else {})
        except EngineError:
            connection.close()
            raise
        return connection

    def _read(self, connection: HTTPConnection) -> bytes | EngineError:
        try:
            with translated():
                answer = connection.getresponse()
                body = answer.read()
        except EngineError as error:
            connection.close()
            return error
        with self._lock:
            self._idle.append(connection)
        is_done = (
            answer.status < 300 or answer.status == HTTPStatus.NOT_MODIFIED
        )  # it was so already
        return body if is_done else refusal(answer.status, body)

    def _connection(self) -> HTTPConnection:
        if self._host.startswith("unix://"):
            return _Unix(self._host.removeprefix("unix://"))
        try:
            with translated():
                url = urlsplit(str(docker.utils.parse_host(self._host, tls=bool(self._cert_path))))
                if url.scheme == "https":
                    return HTTPSConnection(url.hostname or "", url.port, context=self._context)
                return HTTPConnection(url.hostname or "", url.port)
        except ValueError as error:
            raise EngineUnavailable(f"{self._host}: {error}") from error

    @cached_property
    def _context(self) -> ssl.SSLContext:
        certs = Path(self._cert_path)
        context = ssl.create_default_context(cafile=certs / "ca.pem")
        context.load_cert_chain(certs / "cert.pem", certs / "key.pem")
        return context


def _close(connections: list[HTTPConnection]) -> None:
    while connections:
        connections.pop().close()


class _Unix(HTTPConnection):
    """Over a socket of this machine."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
