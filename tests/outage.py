"""A service that can go away and come back: a loopback port in front of a Unix socket, with a plug to pull."""

from __future__ import annotations

import contextlib
import socket
import threading
from functools import partial
from types import TracebackType
from typing import Self


class Plug:
    """`with Plug(path) as plug`: connections to `plug.port` reach the socket at `path` unless pulled out."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._open: set[socket.socket] = set()
        self._flows: list[threading.Event] = []
        self._lock = threading.Lock()
        self._in = True
        self._withheld = b""
        self.refused = 0
        self.carried = 0
        """Connections that were let through."""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def pull(self) -> None:
        """Break all connections, and each new one at once."""
        with self._lock:
            self._in = False
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Let the connections that there are stay open and carry nothing more; new ones are as good as ever."""
        with self._lock:
            for flow in self._flows:
                flow.clear()

    def withhold(self, words: bytes) -> None:
        """Freeze each connection over which these words come, before they are carried."""
        self._withheld = words

    def thaw(self) -> None:
        """Let those go on, with all that was held back."""
        with self._lock:
            for flow in self._flows:
                flow.set()

    def lead_to(self, path: str) -> None:
        """Lead new connections there from now on; those that there are stay."""
        with self._lock:
            self._path = path

    def put_back(self) -> None:
        """Let new connections through."""
        with self._lock:
            self._in = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.thaw()
        self.pull()
        self._server.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._server.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                inner, _ = self._server.accept()
                outer = socket.socket(socket.AF_UNIX)
                with self._lock:
                    if not self._in:
                        self.refused += 1
                        inner.close()
                        outer.close()
                        continue
                    try:
                        outer.connect(self._path)
                    except OSError:  # the service is away
                        self.refused += 1
                        inner.close()
                        outer.close()
                        continue
                    self.carried += 1
                    self._open |= {inner, outer}
                    flow = threading.Event()
                    flow.set()
                    self._flows.append(flow)
                done = threading.Barrier(2, action=partial(self._end, inner, outer))
                for pair in ((inner, outer), (outer, inner)):
                    args = (*pair, done, flow)
                    self._threads.append(threading.Thread(target=self._pump, args=args))
                    self._threads[-1].start()

    def _end(self, *pair: socket.socket) -> None:
        with self._lock:
            self._open.difference_update(pair)
        for sock in pair:
            sock.close()

    def _pump(
        self,
        source: socket.socket,
        target: socket.socket,
        done: threading.Barrier,
        flow: threading.Event,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._withheld and self._withheld in data:
                    flow.clear()
                flow.wait()
                target.sendall(data)
        for sock in (source, target):  # so that the other direction ends too
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        done.wait()
