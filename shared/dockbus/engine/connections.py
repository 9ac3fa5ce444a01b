"""Connections to one Engine: over a socket of this machine, or over TCP, with TLS where there are certificates."""

from __future__ import annotations

import socket
import ssl
from functools import cached_property
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import docker.utils

from dockbus.engine.errors import EngineUnavailable, translated

BLOCK = 64 * 1024
"""Bytes of a file that are sent at once."""


class Connections:
    """Makes connections to the Engine at `host`; `cert_path` is a folder with `ca.pem`, `cert.pem` and `key.pem`, or empty."""

    def __init__(self, host: str, cert_path: str) -> None:
        self._host = host
        self._cert_path = cert_path

    def connect(self, timeout: float) -> HTTPConnection:
        """A new connection, which may take `timeout` seconds to be there.

        Raises:
            EngineUnavailable: nobody answers, or this is no address.
        """
        connection = self._new()
        connection.timeout = timeout
        try:
            with translated():
                connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def _new(self) -> HTTPConnection:
        if self._host.startswith("unix://"):
            return _Unix(self._host.removeprefix("unix://"))
        try:
            with translated():
                url = urlsplit(str(docker.utils.parse_host(self._host, tls=bool(self._cert_path))))
                host, port = url.hostname or "", url.port
                if url.scheme == "https":
                    return HTTPSConnection(host, port, context=self._context, blocksize=BLOCK)
                return HTTPConnection(host, port, blocksize=BLOCK)
        except ValueError as error:
            raise EngineUnavailable(f"{self._host}: {error}") from error

    @cached_property
    def _context(self) -> ssl.SSLContext:
        certs = Path(self._cert_path)
        context = ssl.create_default_context(cafile=certs / "ca.pem")
        context.load_cert_chain(certs / "cert.pem", certs / "key.pem")
        return context


class _Unix(HTTPConnection):
    """Over a socket of this machine."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", blocksize=BLOCK)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
