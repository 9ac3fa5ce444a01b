"""A Git server over HTTPS that asks for a login: Git's own `http-backend` behind a small server of Python's."""

from __future__ import annotations

import base64
import http.server
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class GitServer:
    """The server; `ca` is the file to check its certificate by."""

    address: str
    ca: Path
    seen: list[str] = field(default_factory=list[str])
    """The logins that requests brought, empty for those without one."""
    stall: float = 0.0
    """Seconds that an answer takes."""


@contextmanager
def serve(folder: Path, ca: Path, key: Path, login: str) -> Generator[GitServer]:
    """Serve the repositories in `folder` to whoever brings this `user:password`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def _answer(self, body: bytes) -> None:
            time.sleep(server.stall)
            given = self.headers.get("Authorization", "").removeprefix("Basic ")
            server.seen.append(base64.b64decode(given).decode())
            if server.seen[-1] != login:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="tests"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            variables = {
                "GIT_PROJECT_ROOT": str(folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            }
            done = subprocess.run(
                ["git", "http-backend"],
                input=body,
                capture_output=True,
                check=False,
                env=os.environ | variables,
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        server = GitServer(f"https://127.0.0.1:{served.server_port}", ca)
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trust.load_cert_chain(ca, key)
        served.socket = trust.wrap_socket(served.socket, server_side=True)
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield server
        served.shutdown()
