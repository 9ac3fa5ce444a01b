"""The API's process: one uvicorn on one socket, from the settings to a clean stop."""

from __future__ import annotations

import logging
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from dockbus import Bus, Settings, SettingsError
from dockbus.exposition import own_metrics
from dockbus_producer.api.app import create_app

log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serve the API until SIGTERM or SIGINT. Redis need not be there: `/readyz` says whether it is.

    Raises:
        SettingsError: a setting is wrong, or the address cannot be listened on.
    """
    with Bus(settings, patience=1.0) as bus, _listen(settings.api.host, settings.api.port) as sock:
        app = create_app(bus, settings.api_token())
        server = make_server(app)

        def stop(_number: int, _frame: FrameType | None) -> None:
            server.should_exit = True

        # uvicorn takes these over while it serves, and raises what it got anew when it has stopped.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        log.info("the API listens on http://%s:%d", settings.api.host, sock.getsockname()[1])
        with own_metrics(settings.metrics, "HTTP API", app.state.metrics):
            server.run([sock])
        log.info("the API has stopped")


def make_server(app: FastAPI) -> uvicorn.Server:
    """A server of the app, which tells the app's streams when it stops, so that they end in time."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )
    app.state.stopping = lambda: server.should_exit
    return server


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise SettingsError(
            f"DOCKBUS_API_HOST, DOCKBUS_API_PORT: cannot listen on {host}:{port}: {error.strerror}"
        ) from None
