"""Lines and tables for people: stdout for results, stderr for what is said about them.

Where a stream is no terminal, nothing is coloured, cut or wrapped. Texts come from the bus, so they are never
read as markup.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import cache

from rich.console import Console
from rich.table import Table
from rich.text import Text

Cell = str | Text | int | None


@cache
def console(*, stderr: bool = False) -> Console:
    """The console of stdout or stderr."""
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else 10_000
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def line(text: str | Text) -> None:
    """One line on stdout, never cut."""
    console().print(text if isinstance(text, Text) else printable(text), soft_wrap=True)


def note(text: str) -> None:
    """A line about what happens, on stderr."""
    console(stderr=True).print(Text(printable(text), style="dim"), soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """A table without lines, printed; a column whose title begins with `>` is set flush right."""
    console().print(grid(columns, rows))


def grid(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """The same table, to be shown otherwise."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in columns:
        grid.add_column(
            title.removeprefix(">"),
            justify="right" if title.startswith(">") else "left",
            overflow="fold",
        )
    for row in rows:
        grid.add_row(*map(cell, row))
    return grid


def cell(value: Cell) -> Text:
    """A value as it stands in a table."""
    if isinstance(value, Text):
        return value
    return Text("" if value is None else printable(str(value)))


def printable(text: str) -> str:
    """The text without what would move a terminal's cursor or change its colours."""
    return "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def short(text: str, limit: int = 60) -> str:
    """The text, cut where it is longer than that."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
