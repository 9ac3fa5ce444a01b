"""`dockbus api`: the command line of the HTTP API."""

from __future__ import annotations

import typer

from dockbus.settings import Settings

api = typer.Typer(help="Serve the HTTP API.")


@api.command()
def main() -> None:
    """Serve the HTTP API until stopped."""
    from dockbus import tracing  # noqa: PLC0415
    from dockbus.logs import log_to_stderr  # noqa: PLC0415
    from dockbus_producer.api.server import serve  # noqa: PLC0415  FastAPI is heavy, and may be missing

    settings = Settings.from_env()
    log_to_stderr(settings.log, program="api")
    tracing.start("api")
    serve(settings)
