"""The commands that list what the Engines hold: containers, images, Engines. They read the snapshot and ask no Engine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from dockbus import inventory
from dockbus.bus import Bus
from dockbus.cli import options, output, terminal
from dockbus.cli.options import Json
from dockbus.cli.terminal import Cell
from dockbus.snapshot import ContainerState, EngineState
from dockbus.units import show_size, show_span

OnEngine = Annotated[
    str | None, typer.Option("--engine", metavar="NAME", help="Only of the Engine with this name.")
]
_STATE = {"running": "green", "paused": "yellow", "restarting": "yellow", "dead": "red"}
_HEALTH = {"healthy": "green", "unhealthy": "red"}


def containers(
    engine: OnEngine = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", "-l", metavar="KEY[=VALUE]", help="Only with this label; may be repeated."
        ),
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option("--state", "-s", help="Only in this state, such as running; may be repeated."),
    ] = None,
    health: Annotated[
        str | None, typer.Option(help="Only of this health, such as unhealthy.")
    ] = None,
    name: Annotated[
        str, typer.Option(metavar="GLOB", help="Only with such a name: 'shop-*'.")
    ] = "*",
    as_json: Json = False,
) -> None:
    """List the containers of all Engines as they were last seen."""
    with Bus.connect() as bus:
        found = inventory.containers(
            bus.snapshot,
            engine=engine,
            labels=options.labels(label or ()),
            states=state or (),
            health=health,
            name=name,
        )
        seen = _seen(bus.snapshot.engines())
    if as_json:
        output.document(found)
        return
    now = datetime.now(UTC)
    terminal.table(
        ("ENGINE", "ID", "NAME", "IMAGE", "STATE", "FOR", "HEALTH", "PORTS", "SEEN"),
        (
            (
                one.engine,
                one.id[:12],
                one.name,
                terminal.short(one.image),
                _state(one),
                _for(one, now),
                Text(one.health, style=_HEALTH.get(one.health, "")),
                _ports(one),
                seen.get(one.engine),
            )
            for one in found
        ),
    )


def images(engine: OnEngine = None, as_json: Json = False) -> None:
    """List the images of all Engines as they were last seen."""
    with Bus.connect() as bus:
        found = bus.snapshot.images(engine=engine)
        seen = _seen(bus.snapshot.engines())
    if as_json:
        output.document(found)
        return
    now = datetime.now(UTC)
    terminal.table(
        ("ENGINE", "ID", "NAMES", ">SIZE", "AGE", "SEEN"),
        (
            (
                one.engine,
                one.id.removeprefix("sha256:")[:12],
                " ".join(one.tags) or "<none>",
                show_size(one.size),
                show_span((now - one.created).total_seconds()) if one.created else None,
                seen.get(one.engine),
            )
            for one in found
        ),
    )


def engines(as_json: Json = False) -> None:
    """List the Engines that are watched, or were, and when each was last seen."""
    with Bus.connect() as bus:
        found = bus.snapshot.engines()
    if as_json:
        output.document(found)
        return
    seen = _seen(found)
    terminal.table(
        ("ENGINE", "ID", "HEARD", "SEEN"),
        ((one.name, one.id, "yes" if one.connected else "no", seen[one.name]) for one in found),
    )


def _seen(engines: list[EngineState]) -> dict[str, Cell]:
    """Of each Engine, how fresh what is known of it is."""
    now = datetime.now(UTC)
    return {one.name: _freshness(inventory.age(one, now)) for one in engines}


def _freshness(seconds: float | None) -> Text:
    if seconds == 0:
        return Text("now", style="green")
    return Text("in part" if seconds is None else f"{show_span(seconds)} ago", style="yellow")


def _state(one: ContainerState) -> Text:
    code = "" if one.exit_code is None else f" ({one.exit_code})"
    failed = "red" if one.exit_code else ""
    return Text(terminal.printable(one.state) + code, style=_STATE.get(one.state, failed))


def _for(one: ContainerState, now: datetime) -> str:
    """How long it has been as it is."""
    since = one.started if one.state in ("running", "paused") else one.finished or one.created
    return show_span((now - since).total_seconds()) if since else ""


def _ports(one: ContainerState) -> str:
    ports = (f"{port.address}:{port.host}->{port.container}/{port.protocol}" for port in one.ports)
    return " ".join(ports)
