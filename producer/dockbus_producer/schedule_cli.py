"""`dockbus schedule` and `dockbus schedules`: the command line of the scheduler. It only prints and hands on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dockbus.settings import Settings

if TYPE_CHECKING:
    from dockbus_producer.schedules import Schedule

schedule = typer.Typer(help="Put jobs on the bus at their times.")
schedules = typer.Typer(help="Check a schedule file without running anything.")


@schedule.command()
def run_schedules() -> None:
    """Put the jobs of the schedules in DOCKBUS_SCHEDULE_PATH on the bus at their times, until stopped."""
    from dockbus import tracing  # noqa: PLC0415
    from dockbus.logs import log_to_stderr  # noqa: PLC0415
    from dockbus_producer.scheduler import run  # noqa: PLC0415  YAML may be missing

    settings = Settings.from_env()
    log_to_stderr(settings.log, program="schedule")
    tracing.start("schedule")
    run(settings)


@schedules.command()
def check_schedules(
    file: Annotated[
        Path, typer.Argument(help="A schedule file, or a folder of `*.yaml` schedule files.")
    ],
) -> None:
    """Check schedule files without running anything, and say in a line each what they do, and when next."""
    from dockbus_producer.schedules import load  # noqa: PLC0415  YAML may be missing

    for entry in load(file):
        typer.echo(_summary(entry, int(time.time())))


def _summary(schedule: Schedule, now: int) -> str:
    """The schedule in one line: name, when, what, and its next three slots."""
    slots = [now]
    for _ in range(3):
        slots.append(schedule.next(slots[-1]))
    told = [f"{key}={value}" for key, value in schedule.do.items() if key != "kind"]
    job = " ".join([str(schedule.do["kind"]), *told])
    shown = ", ".join(schedule.show(slot) for slot in slots[1:])
    return f"{schedule.name}: {schedule.words}: {job}; next {shown}"
