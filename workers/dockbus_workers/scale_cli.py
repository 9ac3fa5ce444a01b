"""`dockbus scale`: run the autoscaler."""

from __future__ import annotations

from typing import Annotated

import typer

scale = typer.Typer(help="Keep as many workers as the jobs need.")


@scale.command()
def run(
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Decide, and say so in the log and as events; make and remove nothing.",
        ),
    ] = False,
) -> None:
    """Keep as many containers of each service in DOCKBUS_SCALE_PATH as its jobs need, on this machine's Engine, until stopped.

    Any number may run: one for each Engine scales, and the others stand by.
    """
    from dockbus.logs import log_to_stderr  # noqa: PLC0415
    from dockbus.settings import Settings  # noqa: PLC0415
    from dockbus_workers.scaling import program  # noqa: PLC0415  the docker SDK is heavy

    settings = Settings.from_env()
    log_to_stderr(settings.log, program="scale", engine=settings.engine.name)
    program.run(settings, dry_run=dry_run)
