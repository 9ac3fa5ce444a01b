"""The commands that look at the bus: jobs, logs and queues; and `cancel` and `doctor`."""

from __future__ import annotations

import os
import sys
from collections import deque
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from dockbus import doctor as checkup
from dockbus.bus import Bus
from dockbus.checks import Level
from dockbus.cli import output, terminal
from dockbus.cli.options import Follow, JobArgument, Json
from dockbus.records import JobState
from dockbus.settings import Settings


def jobs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
    state: Annotated[
        list[JobState] | None,
        typer.Option("--state", "-s", help="Only those in this state; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the newest jobs, newest first."""
    with Bus.connect() as bus:
        found = bus.jobs(limit=limit, states=state or ())
    output.document(found) if as_json else output.jobs(found)


LAST = 10
"""Lines of its log that are shown of a job that failed."""


def job(job_id: JobArgument, as_json: Json = False) -> None:
    """Show everything about one job; of one that failed, the last lines of its log too."""
    with Bus.connect() as bus:
        handle = bus.job(job_id)
        found = handle.refresh()
        if as_json:
            output.document(found)
            return
        failed = found.state in (JobState.FAILED, JobState.DEAD)
        log = deque(handle.logs(), maxlen=LAST) if failed else ()
    output.job(found, log)


def artefacts(job_id: JobArgument, as_json: Json = False) -> None:
    """List the files that a job has left."""
    with Bus.connect() as bus:
        found = bus.job(job_id).artefacts()
    output.document(found) if as_json else output.artefacts(found)


def artefact(
    job_id: JobArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `dockbus artefacts` lists it.")],
    to: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: stdout.")
    ] = None,
) -> None:
    """Write one of the files that a job has left."""
    with Bus.connect() as bus, to.open("wb") if to else nullcontext(sys.stdout.buffer) as out:
        for piece in bus.job(job_id).artefact(name):
            out.write(piece)


def logs(job_id: JobArgument, follow: Follow = False, as_json: Json = False) -> None:
    """Print a job's log: its output to stdout, its errors and dockbus' own words to stderr."""
    from dockbus.cli.stream import Screen  # noqa: PLC0415  rich's bars are slow to import

    with Bus.connect() as bus, closing(Screen(sys.stdout)) as screen:
        for entry in bus.job(job_id).logs(follow=follow):
            if as_json:
                output.json_line(entry)
            else:
                screen.show(entry)


def cancel(job_id: JobArgument, as_json: Json = False) -> None:
    """Cancel a job; one that runs is stopped by its worker within a second or two."""
    with Bus.connect() as bus:
        bus.cancel(job_id)
        found = bus.job(job_id).refresh()
    if as_json:
        output.document(found)
    elif found.state.ended:
        terminal.line(f"job {found.id} is {found.state}")
    else:
        terminal.line(f"job {found.id} is being stopped")


def queues(as_json: Json = False) -> None:
    """List the queues and how many workers serve each."""
    with Bus.connect() as bus:
        found = bus.queues()
    output.document(found) if as_json else output.queues(found)


def doctor(
    settings: Annotated[
        bool, typer.Option("--settings", help="List every setting instead, secrets masked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check this machine and the deployment, and say what to do; exits with 1 if something needed is missing."""
    if settings:
        listed = checkup.settings(os.environ)
        output.document(listed) if as_json else output.settings(listed)
        Settings.from_env()  # raises what is wrong with them
        return
    found = checkup.examine(Settings.from_env())
    output.document(found) if as_json else output.checks(found)
    if any(check.level is Level.MISSING for check in found):
        raise typer.Exit(1)
