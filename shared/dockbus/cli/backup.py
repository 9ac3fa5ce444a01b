"""The commands that put the state of the bus into a file, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from dockbus import backup as state
from dockbus.bus import Bus
from dockbus.cli import output, terminal
from dockbus.cli.options import Json
from dockbus.units import show_size, show_span


def backup(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Where to; replaced when the backup is whole."),
    ],
    as_json: Json = False,
) -> None:
    """Write the state of the bus, which goes on meanwhile, into one file."""
    with Bus.connect() as bus:
        made = state.back_up(bus, file)
    if as_json:
        output.document(made)
        return
    terminal.line(
        f"{file}: {made.jobs} jobs, {made.unended} of them not ended; {made.keys} keys, "
        f"{show_size(made.size)}; others waited for {made.held:.2f} s"
    )


def restore(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A backup.")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Also where a bus is: all that is there then goes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring the bus into the state that a backup shows; jobs that had begun are queued again."""
    with Bus.connect() as bus:
        made, again = state.restore(bus, file, replace=replace)
    if as_json:
        output.document({"backup": made, "queued_again": again})
        return
    age = show_span((datetime.now(UTC) - made.made).total_seconds())
    terminal.line(
        f"the bus is as it was {age} ago: {made.jobs} jobs, {made.unended} of them not ended, "
        f"{again} of these queued again"
    )
