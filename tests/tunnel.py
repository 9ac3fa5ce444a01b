"""A web proxy that leads every name to one address on loopback.

An Engine that is told to use it takes a registry behind it for one of the outside world: by a name that
resolves to nothing, and so with its certificate checked, which no Engine does of a registry on loopback.
"""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def tunnel(target: str) -> Generator[str]:
    """Serve a proxy to `target` (`HOST:PORT`) for HTTPS; yields what to put into HTTPS_PROXY."""
    host, _, port = target.partition(":")

    class Handler(_Handler):
        address = host, int(port)
        closing = threading.Event()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            Handler.closing.set()
            server.shutdown()
            thread.join()


class _Handler(socketserver.StreamRequestHandler):
    address: tuple[str, int]
    closing: threading.Event

    def handle(self) -> None:
        while self.rfile.readline().strip():  # `CONNECT NAME:PORT HTTP/1.1` and its headers
            pass
        with socket.create_connection(self.address) as there:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            other = {self.connection: there, there: self.connection}
            while not self.closing.is_set():
                for end in select.select([*other], [], [], 0.1)[0]:
                    if not (data := end.recv(64 * 1024)):
                        return
                    other[end].sendall(data)
