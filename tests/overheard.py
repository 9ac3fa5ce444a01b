"""A socket before an Engine's that passes everything on and takes down which requests it was sent."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_REQUEST = re.compile(rb"(GET|HEAD|POST|PUT|DELETE) (/\S*) HTTP/1")


@contextmanager
def overheard(host: str, folder: Path) -> Generator[tuple[str, list[str]]]:
    """The address of such a socket, and the list that its requests (`POST /v1.41/build?…`) are added to."""
    requests: list[str] = []

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect(host.removeprefix("unix://"))
                back = threading.Thread(target=_copy, args=(engine, self.request), daemon=True)
                back.start()
                _copy(self.request, engine, requests)
                back.join()

    with socketserver.ThreadingUnixStreamServer(
        str(folder / "overheard.sock"), Connection
    ) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"unix://{folder / 'overheard.sock'}", requests
        server.shutdown()


def _copy(source: socket.socket, target: socket.socket, requests: list[str] | None = None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if requests is not None:
                requests += [b" ".join(found).decode() for found in _REQUEST.findall(data)]
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
