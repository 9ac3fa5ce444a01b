"""The metrics worker's HTTP server: `/metrics` for Prometheus, `/healthz` for its supervisor, `/` for people.

`/healthz` says that this process answers, not that the Engine does: restarting it would not mend the
Engine. It listens on loopback unless told otherwise; there is no login, so keep it on a private network.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import make_wsgi_app  # pyright: ignore[reportUnknownVariableType]

from dockbus.errors import SettingsError
from dockbus.settings import Settings
from dockbus_workers.metrics.collector import ContainerCollector, Sweeper

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

SCRAPE_TIMEOUT = 10.0
"""Prometheus' own default, for a client that does not say how long it waits."""
MARGIN = 0.5
"""Seconds kept back of it to write the answer."""

_PAGE = b"""<!doctype html>
<html lang="en"><title>dockbus metrics</title>
<h1>dockbus metrics</h1>
<p>Container metrics of one Docker Engine: <a href="/metrics">/metrics</a>. Health: <a href="/healthz">/healthz</a>.
"""
_ANSWERS = {
    "/": ("200 OK", "text/html; charset=utf-8", _PAGE),
    "/healthz": ("200 OK", "text/plain", b"ok\n"),
}
_NOT_FOUND = ("404 Not Found", "text/plain", b"not found; see /metrics\n")


class Server(ThreadingMixIn, WSGIServer):
    """A thread for each request."""

    daemon_threads = True
    timeout = 0.5  # how long `handle_request` waits, and so how soon a stop is seen

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002  as the base has it
        """A client that went away or stayed silent is its own affair."""
        log.debug("request broken off", exc_info=True)


class _Handler(WSGIRequestHandler):
    timeout = SCRAPE_TIMEOUT  # for the client's next byte

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as the base has it
        """Keep quiet: there is a scrape every few seconds, for ever."""


@contextmanager
def server(settings: Settings) -> Generator[Server]:
    """The server, bound and not yet serving; closed with all it holds after the block.

    Raises:
        SettingsError: it cannot listen on the address given.
    """
    host, port = settings.metrics.host, settings.metrics.port
    sweeper = Sweeper(settings.engine)
    try:
        bound = make_server(host, port, _app(sweeper, settings.metrics.labels), Server, _Handler)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    with bound:
        yield bound
    sweeper.close()


def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: it cannot listen on the address given.
    """
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stopped.append(number))
    with server(settings) as bound:
        say(f"metrics at http://{settings.metrics.host}:{bound.server_port}/metrics")
        while not stopped:
            bound.handle_request()


def _app(sweeper: Sweeper, labels: Iterable[str]) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            registry = CollectorRegistry()
            registry.register(ContainerCollector(sweeper, labels, _budget(environ)))
            exposition = cast("WSGIApplication", make_wsgi_app(registry))
            return exposition(environ, start_response)
        status, kind, body = _ANSWERS.get(environ["PATH_INFO"], _NOT_FOUND)
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    return app


def _budget(environ: WSGIEnvironment) -> float:
    """Seconds a sweep may take for this client, who says how long it waits."""
    try:
        patience = float(environ["HTTP_X_PROMETHEUS_SCRAPE_TIMEOUT_SECONDS"])
    except (KeyError, ValueError):
        patience = SCRAPE_TIMEOUT
    if not 0 < patience < 3600:
        patience = SCRAPE_TIMEOUT
    return max(patience - MARGIN, patience / 2)
