"""An unreliable front before a real registry: it passes requests on, counts them and fails as it is told to.

A real registry cannot be made to answer 429, to break off a blob or to fall silent; this one can. Where it
is told nothing it is transparent, for pulls, pushes and logins alike. One thread per connection, and one
request per connection.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BLOBS = "/blobs/"
"""Part of the path of every layer and configuration."""
MANIFESTS = "/manifests/"

_CHUNK = 64 * 1024
_WORDS = {
    429: ("TOOMANYREQUESTS", "You have reached your pull rate limit."),
    503: ("UNAVAILABLE", "service unavailable"),
}
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class _Fault:
    path: re.Pattern[str]
    times: int | None
    status: int = 0
    """Answer this instead of asking the registry; 0 to ask it."""
    after: int | None = None
    """Bytes of the body after which the answer breaks off; None: all of it, or of a stall no head either."""
    stall: bool = False
    """Say no more, instead of breaking off."""


class Front:
    """What the front is told, and what it has seen. Its `address` stands for the registry's."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.address = ""
        self.seen: Counter[tuple[str, str]] = Counter()
        """How often each method and path was asked for, without the query."""
        self._lock = threading.Lock()
        self._faults: list[_Fault] = []
        self.released = threading.Event()

    def refuse(self, status: int, path: str = "", *, times: int | None = None) -> None:
        """Answer the next `times` requests whose path has this pattern with `status` (None: all of them)."""
        self._add(_Fault(re.compile(path), times, status=status))

    def cut(self, path: str = BLOBS, *, after: int, times: int | None = None) -> None:
        """Break the connection after so many bytes of the body."""
        self._add(_Fault(re.compile(path), times, after=after))

    def stall(
        self, path: str = BLOBS, *, after: int | None = None, times: int | None = None
    ) -> None:
        """Say nothing until `behave` or the end of the front; with `after`, not before so many bytes of the body."""
        self._add(_Fault(re.compile(path), times, after=after, stall=True))

    def behave(self) -> None:
        """Forget every fault; what stalls now breaks off."""
        with self._lock:
            self._faults.clear()
            self.released.set()
            self.released = threading.Event()

    def count(self, method: str, path: str = "") -> int:
        """How many requests with this method had a path with this pattern."""
        with self._lock:
            asked = list(self.seen.items())
        return sum(n for (verb, where), n in asked if verb == method and re.search(path, where))

    def take(self, method: str, path: str) -> tuple[_Fault | None, threading.Event]:
        """Note a request; the fault that it shall meet, and what ends its stalling."""
        with self._lock:
            self.seen[method, path] += 1
            for fault in self._faults:
                if fault.times != 0 and fault.path.search(path):
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault, self.released
            return None, self.released

    def _add(self, fault: _Fault) -> None:
        with self._lock:
            self._faults.append(fault)


@contextmanager
def front(upstream: str) -> Generator[Front]:
    """A front on a loopback port before the registry at `upstream` (`HOST:PORT`, plain HTTP)."""
    told = Front(upstream)

    class Handler(_Handler):
        front = told

    with _Server(("127.0.0.1", 0), Handler) as server:
        told.address = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
            told.behave()
            server.hang_up()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        request, address = super().get_request()
        self._open.add(request)
        return request, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for request in list(self._open):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    front: Front

    def _pass_on(self) -> None:
        self.close_connection = True
        path = self.path.partition("?")[0]
        fault, released = self.front.take(self.command, path)
        body = b"".join(self._body())
        if fault and fault.status:
            self._refuse(fault.status)
            return
        if fault and fault.stall and fault.after is None:
            released.wait()
            return
        host, _, port = self.front.upstream.partition(":")
        with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=60)) as asked:
            asked.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # some names come several times
                if name.lower() not in _HOP:
                    asked.putheader(name, value)
            asked.putheader("Content-Length", str(len(body)))
            asked.endheaders(body)
            self._answer(asked.getresponse(), fault, released)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _pass_on  # noqa: N815  the base class' names

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            yield self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _refuse(self, status: int) -> None:
        code, message = _WORDS.get(status, ("UNKNOWN", "the front was told to refuse"))
        text = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self.send_response(status)
        self._end_head([("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
        if self.command != "HEAD":
            self.wfile.write(text)

    def _answer(
        self, answer: http.client.HTTPResponse, fault: _Fault | None, released: threading.Event
    ) -> None:
        self.send_response(answer.status)
        # The registry's own length, also where less than that follows: a broken answer must look broken.
        length = answer.getheader("Content-Length")
        kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in _HOP]
        self._end_head(kept + ([("Content-Length", length)] if length else []))
        if fault is None or fault.after is None:
            while chunk := answer.read(_CHUNK):
                self.wfile.write(chunk)
            return
        self.wfile.write(answer.read(fault.after))
        if fault.stall:
            released.wait()

    def _end_head(self, headers: list[tuple[str, str]]) -> None:
        for header in headers:
            self.send_header(*header)
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class' name
        pass
