"""What the API measures of itself: requests by route, never by path, for there are as many paths as jobs.

A plain ASGI layer, so that streams stay streams. A request that matches no route is `unmatched`, a method that is none
is `other`: what a client makes up makes no series.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import Counter, Gauge, Histogram, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dockbus.families import Family

REQUESTS = Family(
    "dockbus_http_requests_total",
    "counter",
    "Requests that were answered.",
    ("method", "route", "status"),
)
SECONDS = Family(
    "dockbus_http_request_seconds",
    "histogram",
    "How long it took until the answer began.",
    ("route",),
)
IN_PROGRESS = Family(
    "dockbus_http_requests_in_progress",
    "gauge",
    "Requests that are being answered, open streams included.",
)
CATALOGUE = (REQUESTS, SECONDS, IN_PROGRESS)

PREFIX = "/v1"
"""What the paths of all routes begin with but those for health and the description."""
BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets, in seconds."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class ApiMetrics(Collector):
    """The metrics of one app."""

    def __init__(self) -> None:
        self.requests = Counter(REQUESTS.name, REQUESTS.meaning, REQUESTS.labels, registry=None)
        self.seconds = Histogram(
            SECONDS.name, SECONDS.meaning, SECONDS.labels, buckets=BOUNDS, registry=None
        )
        self.in_progress = Gauge(IN_PROGRESS.name, IN_PROGRESS.meaning, registry=None)

    def collect(self) -> Iterator[Metric]:
        """All families as they stand."""
        for one in (self.requests, self.seconds, self.in_progress):
            yield from one.collect()


class Measured:
    """The layer of an app that measures its requests."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status = 0

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._metrics.seconds.labels(_route(scope)).observe(time.perf_counter() - begun)
            await send(message)

        with self._metrics.in_progress.track_inprogress():
            try:
                await self._app(scope, receive, seen)
            except Exception:
                status = status or 500  # which the layer outside of this one is going to answer
                raise
            finally:
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._metrics.requests.labels(method, _route(scope), str(status)).inc()


def _route(scope: Scope) -> str:
    """The template of the route that the request has matched, with the prefix that its router was included by."""
    path: str = getattr(scope.get("route"), "path", "")
    if not path:
        return "unmatched"
    return PREFIX + path if scope["path"].startswith(f"{PREFIX}/") else path
