"""A receiver of webhooks on loopback that answers as it is told, and remembers what it was sent."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    def is_signed_with(self, key: bytes) -> bool:
        """Whether the signature holds, by the text of Standard Webhooks."""
        said = self.headers["webhook-signature"].split(",")
        content = b".".join(
            [
                self.headers["webhook-id"].encode(),
                self.headers["webhook-timestamp"].encode(),
                self.body,
            ]
        )
        right = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
        return said == ["v1", right]


Answer = Callable[[BaseHTTPRequestHandler], None]


def status(code: int, text: str = "", **headers: str) -> Answer:
    """Answer with this status."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text.encode())

    return answer


def cut(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without a word."""
    handler.close_connection = True


@dataclass
class Receiver:
    """Answers with the first of `answers`, which is then taken away, and with `usual` where there is none."""

    port: int
    answers: list[Answer] = field(default_factory=list[Answer])
    usual: Answer = field(default_factory=lambda: status(204))
    got: list[Request] = field(default_factory=list[Request])
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?from=test"

    def hang(self, handler: BaseHTTPRequestHandler) -> None:
        """Say nothing until released."""
        self.released.wait(60)
        handler.close_connection = True

    def dribble(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer, a letter at a time, for ever."""
        handler.wfile.write(b"HTTP/1.1 500 ")
        with contextlib.suppress(OSError):
            while not self.released.wait(0.05):
                handler.wfile.write(b"x")
        handler.close_connection = True

    def ids(self) -> list[str]:
        return [request.event["id"] for request in list(self.got)]


@contextlib.contextmanager
def receiver() -> Generator[Receiver]:
    """A receiver, as long as the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = told.answers.pop(0) if told.answers else told.usual
            told.got.append(Request(self.path, headers, body))
            answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told = Receiver(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield told
        finally:
            told.released.set()
            server.shutdown()
            thread.join()
