"""A loopback port that speaks TLS in front of a Unix socket, such as that of a Redis which was built without it."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import registries


@contextmanager
def tls_front(path: str, folder: Path) -> Generator[int]:
    """Serve the socket at `path`; yields the port. The authority of its certificate is `ca.pem` in `folder`."""
    ca = registries._certificate(folder)  # pyright: ignore[reportPrivateUsage]

    class Handler(_Handler):
        address = path
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        closing = threading.Event()

    Handler.context.load_cert_chain(ca, folder / "key.pem")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            Handler.closing.set()
            server.shutdown()
            thread.join()


class _Handler(socketserver.BaseRequestHandler):
    address: ClassVar[str]
    context: ClassVar[ssl.SSLContext]
    closing: ClassVar[threading.Event]

    def handle(self) -> None:
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX) as there,
            self.context.wrap_socket(self.request, server_side=True) as here,
        ):
            there.connect(self.address)
            self._carry(here, there)

    def _carry(self, here: ssl.SSLSocket, there: socket.socket) -> None:
        other = {here: there, there: here}
        while not self.closing.is_set():
            # What TLS has read already is not to be waited for.
            ready = [here] if here.pending() else select.select([here, there], [], [], 0.1)[0]
            for end in ready:
                if not (data := end.recv(64 * 1024)):
                    return
                other[end].sendall(data)
