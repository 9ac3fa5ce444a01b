"""A process' metrics and health over HTTP: `/metrics` for Prometheus, `/healthz` and `/readyz` for supervisors, `/` for people.

What is asked is answered at the scrape and nothing is kept between two. A collector that fails takes its own families
from the page and no other's. `/healthz` says that this process answers and no more: a restart would not mend an Engine
or a Redis. `/readyz` says whether it can be of use, as `/readyz` of the API does. Only `/metrics` asks for the token; a
certificate, where one is asked for, is asked of all.
"""

from __future__ import annotations

import contextlib
import gzip
import hmac
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import PROCESS_COLLECTOR, Metric, disable_created_metrics
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.registry import Collector

from dockbus.errors import SettingsError
from dockbus.settings import MetricsSettings
from dockbus.table import Table

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

SCRAPES = 4
"""Scrapes that are answered at the same time; to one more it is said that it should come again."""
SCRAPE_TIMEOUT = 10.0
"""Seconds that a client waits who does not say how long: Prometheus' own default."""
MARGIN = 0.5
"""Seconds kept back of it to write the answer."""
READ_TIMEOUT = 10.0
"""Seconds for a client's next byte, and for taking the answer."""

Collect = Callable[[float], Iterable[Collector]]
"""What to collect from at a scrape that may take about so many seconds."""
Trouble = Callable[[], str]
"""Asked for what keeps a process from being of use; empty if nothing does. Nobody needs a token to read it."""
Answer = tuple[str, dict[str, str], bytes]
"""Status, headers, body."""
_EOF = b"# EOF\n"  # the end of a page of OpenMetrics

# They would be one series more for each that counts, and nobody asks for them.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Page:
    """The WSGI application.

    Args:
        about: what is measured here, such as `container metrics of one Docker Engine`.
        collect: asked anew at each scrape.
        token: what a scrape must carry; empty for nothing.
        trouble: asked when somebody wants to know whether this process is of use.
    """

    def __init__(
        self, about: str, collect: Collect, token: str = "", trouble: Trouble = str
    ) -> None:
        self._about = about
        self._collect = collect
        self._token = token
        self._trouble = trouble
        self._free = threading.BoundedSemaphore(SCRAPES)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        """Answer one request."""
        with contextlib.ExitStack() as until_sent:
            status, headers, body = self._answer(environ, until_sent)
            start_response(status, [*headers.items(), ("Content-Length", str(len(body)))])
            yield b"" if environ["REQUEST_METHOD"] == "HEAD" else body

    def _answer(self, environ: WSGIEnvironment, until_sent: contextlib.ExitStack) -> Answer:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _text("405 Method Not Allowed", "GET and HEAD only", Allow="GET, HEAD")
        match environ["PATH_INFO"]:
            case "/metrics":
                return self._metrics(environ, until_sent)
            case "/healthz":
                return _text("200 OK", "ok")
            case "/readyz":
                trouble = self._trouble()
                return _text("503 Service Unavailable" if trouble else "200 OK", trouble or "ok")
            case "/":
                return "200 OK", {"Content-Type": "text/html; charset=utf-8"}, self._landing()
            case _:
                return _text("404 Not Found", "not found; see /metrics")

    def _metrics(self, environ: WSGIEnvironment, until_sent: contextlib.ExitStack) -> Answer:
        if not self._may(environ):
            needed = "a scrape needs DOCKBUS_METRICS_TOKEN as its bearer token"
            return _text("401 Unauthorized", needed, **{"WWW-Authenticate": "Bearer"})
        if not self._free.acquire(blocking=False):
            busy = f"{SCRAPES} scrapes are being answered"
            return _text("503 Service Unavailable", busy, **{"Retry-After": "1"})
        until_sent.callback(self._free.release)
        return self._scrape(environ)

    def _may(self, environ: WSGIEnvironment) -> bool:
        given = environ.get("HTTP_AUTHORIZATION", "")
        expected = f"Bearer {self._token}"
        return not self._token or hmac.compare_digest(
            given.encode("latin-1", "replace"), expected.encode()
        )

    def _scrape(self, environ: WSGIEnvironment) -> Answer:
        families = list(_families(self._collect(_budget(environ))))
        body, kind = encode(families, environ.get("HTTP_ACCEPT", ""))
        headers = {"Content-Type": kind, "Vary": "Accept, Accept-Encoding"}
        if gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING", "")):
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, compresslevel=5, mtime=0)
        return "200 OK", headers, body

    def _landing(self) -> bytes:
        return f"""<!doctype html>
<html lang="en"><title>dockbus metrics</title>
<h1>dockbus metrics</h1>
<p>The {self._about}: <a href="/metrics">/metrics</a>. Health: <a href="/healthz">/healthz</a>, <a href="/readyz">/readyz</a>.
""".encode()


def encode(families: Iterable[Metric], accept: str) -> tuple[bytes, str]:
    """The families in the format that the client likes best, and its media type; those that cannot be written are left out."""
    encoder, kind = choose_encoder(accept)
    openmetrics = kind.startswith("application/openmetrics-text")
    parts: list[bytes] = []
    for family in families:
        try:
            if isinstance(family, Table):
                parts.append(family.text(openmetrics=openmetrics))
            else:
                parts.append(encoder(_Found([family])).removesuffix(_EOF))
        except Exception:
            log.exception("metric %s cannot be written", family.name)
    return b"".join([*parts, _EOF] if openmetrics else parts), kind


class _Found(Collector):
    """What was collected already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def _families(collectors: Iterable[Collector]) -> Iterator[Metric]:
    """What each collector gives, up to where it fails."""
    for collector in collectors:
        try:
            yield from collector.collect()
        except Exception:
            log.exception("%s has failed; its metrics are left out", type(collector).__name__)


def _text(status: str, text: str, **headers: str) -> Answer:
    return status, {"Content-Type": "text/plain; charset=utf-8"} | headers, f"{text}\n".encode()


def _budget(environ: WSGIEnvironment) -> float:
    """Seconds that collecting may take for this client, who says how long it waits."""
    try:
        patience = float(environ["HTTP_X_PROMETHEUS_SCRAPE_TIMEOUT_SECONDS"])
    except (KeyError, ValueError):
        patience = SCRAPE_TIMEOUT
    if not 0 < patience < 3600:
        patience = SCRAPE_TIMEOUT
    return max(patience - MARGIN, patience / 2)


# -- the server -----------------------------------------------------------------------------


class Server(ThreadingMixIn, WSGIServer):
    """A thread for each request."""

    daemon_threads = True
    timeout = 0.5  # how long `handle_request` waits, and so how soon a stop is seen

    def __init__(
        self, host: str, port: int, app: WSGIApplication, tls: ssl.SSLContext | None = None
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)
        self.set_app(app)
        if tls:
            # No handshake in `accept`: a client that is silent holds up its own thread only.
            self.socket = tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    def server_bind(self) -> None:
        """Bind, without looking up this machine's name as the base does: that may take long, and nobody asks for it."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002  as the base has it
        """A client that went away, stayed silent or has no certificate is its own affair."""
        log.debug("request broken off", exc_info=True)


class Handler(WSGIRequestHandler):
    """One client's request."""

    timeout = READ_TIMEOUT

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as the base has it
        """Keep quiet: there is a scrape every few seconds, for ever."""


@contextlib.contextmanager
def listening(
    settings: MetricsSettings, port: int, about: str, collect: Collect, trouble: Trouble = str
) -> Generator[Server]:
    """A server that is bound and does not serve yet; closed after the block.

    Raises:
        SettingsError: it cannot listen there, or cannot use the certificate.
    """
    page = Page(about, collect, settings.token.get_secret_value(), trouble)
    tls = _context(settings.cert_path) if settings.cert_path else None
    try:
        server = Server(settings.host, port, page, tls)
    except OSError as error:
        raise SettingsError(f"cannot listen on {settings.host}:{port}: {error.strerror}") from error
    with server:
        yield server


@contextlib.contextmanager
def own_metrics(
    settings: MetricsSettings, about: str, *collectors: Collector, trouble: Trouble = str
) -> Generator[None]:
    """While the block runs, a process' own metrics and health are served at DOCKBUS_METRICS_OWN_PORT; nothing where that is 0.

    Raises:
        SettingsError: it cannot listen there, or cannot use the certificate.
    """
    if not settings.own_port:
        yield
        return

    def collect(_seconds: float) -> Iterable[Collector]:
        return (PROCESS_COLLECTOR, *collectors)

    with listening(settings, settings.own_port, about, collect, trouble) as server:
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        log.info("metrics of this process: %s", address(settings, server))
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def address(settings: MetricsSettings, server: Server) -> str:
    """Where the page is."""
    scheme = "https" if settings.cert_path else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{server.server_port}/metrics"


def _context(folder: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = Path(folder)
    try:
        context.load_cert_chain(files / "cert.pem", files / "key.pem")
        if (files / "ca.pem").exists():
            context.load_verify_locations(files / "ca.pem")
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"DOCKBUS_METRICS_CERT_PATH: {folder}: {error}") from error
    return context
