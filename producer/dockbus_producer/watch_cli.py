"""`dockbus watch` and `dockbus rules`: the command line of the Docker-event producer. It only prints and hands on."""

from __future__ import annotations

import typer

from dockbus.settings import Settings
from dockbus_producer.rules_cli import rules

__all__ = ["rules", "watch"]

watch = typer.Typer(help="Publish this Engine's events and run the rules on them.")


@watch.command()
def watch_engine() -> None:
    """Publish this Engine's events and run the rules in DOCKBUS_WATCH_RULES on all events, until stopped."""
    from dockbus import tracing  # noqa: PLC0415
    from dockbus.logs import log_to_stderr  # noqa: PLC0415
    from dockbus_producer.watch import watch as run  # noqa: PLC0415  the docker SDK is heavy

    settings = Settings.from_env()
    log_to_stderr(settings.log, program="watch", engine=settings.engine.name)
    tracing.start("watch")
    run(settings)
