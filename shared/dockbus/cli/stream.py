"""A job's log as it comes: lines where they belong, progress as bars on a terminal or as notes elsewhere."""

from __future__ import annotations

import sys
from typing import TextIO

from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from dockbus.cli import terminal
from dockbus.joblog import LogLine, Progress
from dockbus.units import show_size


class Screen:
    """Shows the entries of one job's log.

    The bars are taken away before a line is printed and come back with the next progress, so that
    lines can go to any file, pipe or terminal.
    """

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines
        self._last: dict[str, str] = {}
        self._tasks: dict[str, TaskID] = {}
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[amount]}", style="dim", markup=False),
            console=terminal.console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def close(self) -> None:
        """Take the bars away."""
        if self._bars.live.is_started:
            self._bars.stop()

    def show(self, entry: LogLine | Progress) -> None:
        """Show the next entry."""
        if isinstance(entry, LogLine):
            self.close()
            if entry.stream == "system":
                terminal.note(entry.text)
            else:
                target = self._lines if entry.stream == "stdout" else sys.stderr
                print(entry.text, file=target, flush=True)
        elif self._bars.console.is_terminal:
            self._draw(entry)
        elif self._last.get(entry.step) != entry.status:
            self._last[entry.step] = entry.status
            terminal.note(f"{entry.step}: {entry.status}")

    def _draw(self, entry: Progress) -> None:
        if entry.step not in self._tasks:
            self._tasks[entry.step] = self._bars.add_task("", total=None, amount="")
        self._bars.update(
            self._tasks[entry.step],
            description=terminal.printable(f"{entry.step[:20]} {entry.status[:60]}"),
            completed=entry.current,
            total=entry.total or None,
            amount=_amount(entry),
        )
        self._bars.start()


def _amount(entry: Progress) -> str:
    if not entry.total:
        return ""
    if entry.unit == "steps":
        return f"{entry.current}/{entry.total}"
    return f"{show_size(entry.current)} of {show_size(entry.total)}"
