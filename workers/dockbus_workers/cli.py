"""`dockbus worker QUEUE`: the command line of the worker processes."""

from __future__ import annotations

from typing import Annotated

import typer

from dockbus.jobs import Queue
from dockbus.settings import Settings

worker = typer.Typer(help="Carry out the jobs of one queue.")


@worker.command()
def main(
    queue: Annotated[
        Queue,
        typer.Argument(
            help="Which jobs to carry out: those of a kind, or those that act on a container."
        ),
    ],
    slots: Annotated[
        int | None, typer.Option(min=1, max=256, help="Jobs at the same time.")
    ] = None,
) -> None:
    """Carry out the jobs of one queue against this machine's Docker Engine, until stopped.

    A kind's name is its queue's; restart, stop, start, remove and exec jobs are on the queue `container`.
    """
    from dockbus import tracing  # noqa: PLC0415
    from dockbus.logs import log_to_stderr  # noqa: PLC0415
    from dockbus_workers.process import WorkerProcess  # noqa: PLC0415  the docker SDK is heavy, and may be missing

    settings = Settings.from_env()
    if slots:
        settings = settings.model_copy(
            update={"worker": settings.worker.model_copy(update={"slots": slots})}
        )
    log_to_stderr(settings.log, program="worker", engine=settings.engine.name, queue=queue.value)
    tracing.start("worker")
    WorkerProcess(queue, settings).run()
