"""`dockbus stats` and `dockbus top`: what containers use now, once or live. The metrics workers measure it while they are asked."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dockbus.bus import Bus
from dockbus.cli import options, output, terminal
from dockbus.cli.options import Json, Labels
from dockbus.cli.terminal import Cell
from dockbus.errors import RedisUnavailable
from dockbus.stats import ContainerStats, EngineStats, HealthStatus, StatsUnavailable, Wanted
from dockbus.units import show_size

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...", help="Only with such a name ('shop-*'), or an ID that begins so."
    ),
]
OnEngine = Annotated[
    str | None, typer.Option("--engine", metavar="NAME", help="Only of the Engine with this name.")
]
PAUSE = 0.1
"""Seconds between two looks for something new, at the bus and at the keyboard."""
_COLUMNS = (
    *("ENGINE", "ID", "NAME", ">CPU %", ">MEMORY", ">LIMIT", ">MEM %", ">NET IN", ">NET OUT"),
    *(">READ", ">WRITTEN", ">PIDS", "HEALTH"),
)
_HEALTH = {HealthStatus.HEALTHY: "green", HealthStatus.UNHEALTHY: "red"}


class Sort(StrEnum):
    """What a live table is sorted by."""

    CPU = "cpu"
    MEMORY = "memory"
    NAME = "name"


_ORDER: dict[Sort, Callable[[ContainerStats], tuple[float, str, str]]] = {
    Sort.CPU: lambda one: (-(one.cpu_percent or 0.0), one.engine, one.name),
    Sort.MEMORY: lambda one: (-float(one.memory_bytes or 0), one.engine, one.name),
    Sort.NAME: lambda one: (0.0, one.engine, one.name),
}
_KEYS = {sort.value[0]: sort for sort in Sort}


def stats(
    names: Names = None,
    engine: OnEngine = None,
    label: Labels = None,
    as_json: Json = False,
) -> None:
    """Show what running containers use now."""
    with Bus.connect() as bus:
        found = bus.stats(engine=engine, name=names or (), labels=options.labels(label or ()))
    if as_json:
        output.document(found)
    else:
        terminal.table(_COLUMNS, map(_row, found))


def top(
    names: Names = None,
    engine: OnEngine = None,
    label: Labels = None,
    sort: Annotated[
        Sort, typer.Option("--sort", "-s", help="What comes first; keys c, m and n change it.")
    ] = Sort.CPU,
) -> None:
    """Show what running containers use, live, until `q` is pressed; once where there is no terminal."""
    wanted = Wanted(engine, names or (), options.labels(label or ()))
    with Bus.connect() as bus:
        if sys.stdout.isatty():
            _live(bus, wanted, sort)
            return
        found = bus.stats(engine=engine, name=wanted.name, labels=wanted.labels)
    terminal.table(_COLUMNS, map(_row, sorted(found, key=_ORDER[sort])))


def _live(bus: Bus, wanted: Wanted, sort: Sort) -> None:
    feed = bus.stats.feed(wanted)
    last: dict[str, EngineStats] = {}
    screen = Live(console=terminal.console(), screen=True, auto_refresh=False)
    with _keyboard() as pressed, screen:
        screen.update(Text("waiting for the first measurement…", style="dim"), refresh=True)
        while (key := pressed()) != "q":
            sort = _KEYS.get(key, sort)
            try:
                engines, new = feed.look()
            except (StatsUnavailable, RedisUnavailable) as error:
                if not last:
                    raise
                screen.update(Text(terminal.printable(str(error)), style="red"), refresh=True)
                continue
            last |= {one.engine: one for one in new}
            gone = last.keys() - engines
            last = {name: one for name, one in last.items() if name in engines}
            if last and (new or gone or key):
                screen.update(_page(last.values(), sort), refresh=True)


def _page(measured: Iterable[EngineStats], sort: Sort) -> Group:
    found = [one for each in measured for one in each.containers]
    away = sorted(each.engine for each in measured if not each.up)
    cpu = sum(one.cpu_percent or 0.0 for one in found)
    memory = sum(one.memory_bytes or 0 for one in found)
    head = Text(
        f"{len(found)} containers, CPU {cpu:.0f} %, memory {show_size(memory)}, by {sort}"
        "   [c]pu [m]emory [n]ame [q]uit",
        style="dim",
    )
    if away:
        head.append(terminal.printable(f"   no answer: {', '.join(away)}"), style="red")
    table: Table = terminal.grid(_COLUMNS, map(_row, sorted(found, key=_ORDER[sort])))
    return Group(head, table)


@contextmanager
def _keyboard() -> Generator[Callable[[], str]]:
    """Gives what waits a moment for a key and returns it, or an empty string."""
    if not sys.stdin.isatty():
        yield lambda: str(select.select([], [], [], PAUSE) and "")
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def pressed() -> str:
        ready, _, _ = select.select([keyboard], [], [], PAUSE)
        return os.read(keyboard, 1).decode(errors="replace") if ready else ""

    tty.setcbreak(keyboard)
    try:
        yield pressed
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _row(one: ContainerStats) -> tuple[Cell, ...]:
    limit = _size(one.memory_limit_bytes)
    return (
        one.engine,
        one.id[:12],
        one.name,
        _percent(one.cpu_percent),
        _size(one.memory_bytes),
        Text(limit, style="dim") if one.memory_unlimited else limit,
        _percent(one.memory_percent),
        _size(one.network_rx_bytes),
        _size(one.network_tx_bytes),
        _size(one.block_read_bytes),
        _size(one.block_write_bytes),
        "-" if one.pids is None else one.pids,
        Text(one.health, style=_HEALTH.get(one.health, "")),
    )


def _size(count: int | None) -> str:
    return "-" if count is None else show_size(count)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
