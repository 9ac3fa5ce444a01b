"""`dockbus sinks`: the command line of the sinks. It only prints and hands on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dockbus.bus import Bus
from dockbus.cli import output, terminal
from dockbus.cli.options import Json
from dockbus.settings import Settings

if TYPE_CHECKING:
    from dockbus_producer.sinks import Sink

sinks = typer.Typer(
    help="Look at the URLs that are told of events, and send again.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The sink's name.")]


def _load() -> list[Sink]:
    from dockbus_producer.sinks import load  # noqa: PLC0415  YAML may be missing
    from dockbus_producer.yaml_files import EntryFiles  # noqa: PLC0415

    return EntryFiles(Settings.from_env().watch.sinks, "sinks", load).entries


def _find(name: str) -> Sink:
    from dockbus.errors import near_miss  # noqa: PLC0415

    found = {sink.name: sink for sink in _load()}
    if name not in found:
        raise typer.BadParameter(
            f"DOCKBUS_WATCH_SINKS has no sink {name!r}{near_miss(name, list(found))}"
        )
    return found[name]


@sinks.command("list")
def list_sinks(as_json: Json = False) -> None:
    """List the sinks of DOCKBUS_WATCH_SINKS: what they want, and how many events wait or are dead."""
    from dockbus_producer.sinks.outbox import Outbox  # noqa: PLC0415

    with Bus.connect() as bus:
        rows = [
            (sink, outbox.suspension(), outbox.waiting(), outbox.dead_count())
            for sink in _load()
            for outbox in [Outbox(bus.redis, sink.name)]
        ]
    if as_json:
        output.document(
            [
                {"sink": sink, "suspended": suspended, "waiting": waiting, "dead": dead}
                for sink, suspended, waiting, dead in rows
            ]
        )
        return
    terminal.table(
        ("NAME", "URL", "TYPES", "STATE", ">WAITING", ">DEAD"),
        (
            (
                sink.name,
                sink.url,
                ", ".join(sink.types),
                f"suspended: {suspended.cause}" if suspended else "active",
                waiting,
                dead,
            )
            for sink, suspended, waiting, dead in rows
        ),
    )


@sinks.command("dead")
def dead_letters(name: Name, as_json: Json = False) -> None:
    """List the events that could not be sent to a sink, and why."""
    from dockbus_producer.sinks.outbox import Outbox  # noqa: PLC0415

    _find(name)
    with Bus.connect() as bus:
        found = list(Outbox(bus.redis, name).dead().values())
    if as_json:
        output.document(found)
        return
    terminal.table(
        ("SINCE", "TYPE", "SUBJECT", ">ATTEMPTS", "CAUSE"),
        (
            (
                f"{parcel.since.astimezone():%Y-%m-%d %H:%M:%S}",
                parcel.event.type,
                terminal.short(parcel.event.subject, 20),
                parcel.attempts,
                parcel.cause,
            )
            for parcel in found
        ),
    )


@sinks.command("replay")
def replay(name: Name) -> None:
    """Send the dead events of a sink again; their message IDs stay the same."""
    from dockbus_producer.sinks.outbox import Outbox  # noqa: PLC0415

    _find(name)
    with Bus.connect() as bus:
        count = Outbox(bus.redis, name).replay()
    terminal.line(f"{count} events are sent again")


@sinks.command("resume")
def resume(name: Name) -> None:
    """Send again to a sink that had answered with 410 and was suspended."""
    from dockbus_producer.sinks.outbox import Outbox  # noqa: PLC0415

    _find(name)
    with Bus.connect() as bus:
        was = Outbox(bus.redis, name).resume()
    terminal.line(f"sink {name} {'is sent to again' if was else 'was not suspended'}")


@sinks.command("test")
def test(name: Name) -> None:
    """Send an event of type io.dockbus.sink.test to a sink, once, from here, and say what it answered."""
    from dockbus.events import Event  # noqa: PLC0415
    from dockbus_producer.sinks.delivery import Meaning, deliver  # noqa: PLC0415

    sink, settings = _find(name), Settings.from_env()
    event = Event(source="/dockbus/sinks", type="io.dockbus.sink.test", subject=name)
    answer = deliver(sink, event, settings.secrets.dir)
    if answer.meaning is not Meaning.DELIVERED:
        output.error(f"{sink.url}: {answer.cause}")
        raise typer.Exit(1)
    terminal.line(f"{sink.url}: {answer.cause}")
