"""The API put together: routers, security, errors and their description. Wiring only."""

from __future__ import annotations

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from dockbus import Bus, DockbusError, RedisUnavailable, __version__
from dockbus.errors import Unauthorized
from dockbus_producer.api import blobs, events, health, inventory, jobs, queues, stats
from dockbus_producer.api.access import require_token
from dockbus_producer.api.metrics import PREFIX, ApiMetrics, Measured
from dockbus_producer.api.openapi import DescribedApp, problems
from dockbus_producer.api.problems import InvalidRequest, answer


def create_app(bus: Bus, token: str) -> FastAPI:
    """The API of `bus`, for whoever has the token."""
    app = DescribedApp(
        title="dockbus",
        summary="Jobs and events for plain Docker hosts.",
        description="Every error is a problem document (RFC 9457) whose `type` is stable and whose `advice` says what to do.",
        version=__version__,
        redoc_url=None,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
        # FastAPI makes the spans of calls itself, where `dockbus.tracing` has set up a receiver.
        telemetry={
            "auto_configure": False,
            "operation_spans": False,
            "exclude": lambda scope: not scope["path"].startswith(PREFIX),
        },
    )
    app.state.bus, app.state.token = bus, token
    app.state.stopping = lambda: False  # the server knows better, see `make_server`
    app.state.metrics = ApiMetrics()
    app.add_middleware(Measured, metrics=app.state.metrics)
    for error in (DockbusError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(error, answer)
    app.include_router(health.router)
    routes = (jobs, blobs, events, inventory, stats, queues)
    for router in (each.router for each in routes):
        app.include_router(
            router,
            prefix=PREFIX,
            dependencies=[Depends(require_token)],
            responses=problems(Unauthorized, InvalidRequest, RedisUnavailable),
        )
    return app
