"""`dockbus metrics`: run the metrics worker."""

from __future__ import annotations

import typer

metrics = typer.Typer(help="Serve container metrics for Prometheus.")


@metrics.command()
def run() -> None:
    """Serve this Engine's container metrics for Prometheus until stopped; see DOCKBUS_METRICS_HOST and _PORT."""
    from dockbus.logs import log_to_stderr  # noqa: PLC0415
    from dockbus.settings import Settings  # noqa: PLC0415
    from dockbus_workers.metrics.server import serve  # noqa: PLC0415  the docker SDK is heavy

    log_to_stderr()
    serve(Settings.from_env(), typer.echo)
