"""`dockbus metrics`: run the metrics worker."""

from __future__ import annotations

import logging

import typer

metrics = typer.Typer(help="Serve metrics for Prometheus.")


@metrics.command()
def run() -> None:
    """Serve the metrics of this Engine's containers and of the bus until stopped; see DOCKBUS_METRICS_HOST and _PORT.

    Any number may run: one for each Engine exports its containers, one of all the bus, and the others stand by.
    """
    from dockbus.logs import log_to_stderr  # noqa: PLC0415
    from dockbus.settings import Settings  # noqa: PLC0415
    from dockbus_workers.metrics.server import serve  # noqa: PLC0415  the docker SDK is heavy

    settings = Settings.from_env()
    log_to_stderr(settings.log, program="metrics", engine=settings.engine.name)
    serve(settings, logging.getLogger(__name__).info)
