"""`dockbus events`: what happens, one event a line: when, what, to whom, and what matters about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

import typer
from pydantic import JsonValue
from rich.text import Text

from dockbus.bus import Bus
from dockbus.cli import output, terminal
from dockbus.cli.options import Follow, Json
from dockbus.event_reader import EventReader, NoSuchPlace, position_of
from dockbus.events import Event

PREFIX = "io.dockbus."
_BAD = (
    *("failed", "dead", "oom", "unhealthy", "gap", "suspended", "disconnected", "missed"),
    "exceeded",
)
_GOOD = ("succeeded", "healthy", "resumed", "connected", "recovered")
_NOT_SHOWN = (
    *("id", "engineId", "action", "attributes", "container", "synthetic"),
    *("event", "eventSource", "eventSubject", "message"),
)
"""Facts that stand in the line already, or that only programs need."""


def _position(text: str) -> str:
    try:
        return position_of(text)
    except NoSuchPlace as error:
        raise typer.BadParameter(error.detail + " is none. " + error.advice) from None


def events(
    follow: Follow = False,
    since: Annotated[
        str | None,
        typer.Option(
            parser=_position,
            metavar="PLACE",
            help="Begin so long ago (10m), at a moment (2026-11-22T07:44:00Z), or after a position that `--json` shows. "
            "Default: 0, all that are kept; with --follow: now.",
        ),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="GLOB",
            help="Only of such types: 'io.dockbus.job.*'; may be repeated.",
        ),
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="GLOB", help="Only from there: '/engines/*'."),
    ] = None,
    subjects: Annotated[
        list[str] | None,
        typer.Option(
            "--subject", metavar="GLOB", help="Only about that: a container's or job's ID."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print what has happened, one event a line."""
    with Bus.connect() as bus:
        found = bus.events(
            since=since or ("" if follow else "0"),
            follow=follow,
            types=types or (),
            sources=sources or (),
            subjects=subjects or (),
        )
        told = _note_gone(found, None)
        for stored in found:
            told = _note_gone(found, told)
            output.json_line(stored) if as_json else terminal.line(shown(stored.event))


def _note_gone(found: EventReader, told: str | None) -> str | None:
    if found.gone and found.gone != told:
        terminal.note(
            f"events before {found.gone} are gone; they were removed before they were read"
        )
    return found.gone


def shown(event: Event) -> Text:
    """An event in one line for a person."""
    kind = event.type.removeprefix(PREFIX)
    name = str(event.data.get("name") or event.subject)
    return Text.assemble(
        (f"{event.time.astimezone():%Y-%m-%d %H:%M:%S}", "dim"),
        "  ",
        (terminal.printable(kind), _colour(kind, event.data)),
        (f"  {terminal.printable(_short_id(name))}" if name else "", "bold"),
        (f"  {terminal.printable(facts)}" if (facts := _facts(event, name)) else "", "dim"),
    )


def _colour(kind: str, data: Mapping[str, JsonValue]) -> str:
    last = kind.rpartition(".")[2]
    if last in _BAD or data.get("exitCode"):
        return "red"
    return "green" if last in _GOOD else "cyan"


def _short_id(name: str) -> str:
    """What people call a thing that has no name: the first twelve digits of its ID."""
    bare = name.removeprefix("sha256:")
    is_id = len(bare) == 64 and all(digit in "0123456789abcdef" for digit in bare)
    return bare[:12] if is_id else name


def _facts(event: Event, name: str) -> str:
    told = {
        key: value
        for key, value in event.data.items()
        if key not in _NOT_SHOWN and value not in ("", None, [], {}, name)
    }
    if event.data.get("synthetic"):
        told["synthetic"] = True
    return " ".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in told.items()
    )
