"""`dockbus rules`: check rule files, ask why a rule did or did not act, and end suspensions. It only prints and hands on."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from dockbus.bus import Bus
from dockbus.cli import output, terminal
from dockbus.cli.options import Json, seconds
from dockbus.errors import RuleError, near_miss
from dockbus.events import RESYNCED, Event, StoredEvent
from dockbus.jobs import explain as explain_error
from dockbus.records import JobState
from dockbus.settings import Settings
from dockbus.snapshot import ContainerState

if TYPE_CHECKING:
    from dockbus_producer.rules import Occasion, Rule

rules = typer.Typer(
    help="Check rules, ask why they did or did not act, and resume them.", no_args_is_help=True
)

File = Annotated[Path, typer.Argument(help="A rule file, or a folder of `*.yaml` rule files.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The rule's name.")]
M = TypeVar("M", bound=BaseModel)
ALL = 2**31
"""More jobs than a bus has."""


@rules.command()
def lint(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Rule files, or folders of `*.yaml` rule files."),
    ],
) -> None:
    """Check rule files without running anything; each mistake is a line, and the exit code is 1 then."""
    from dockbus_producer.rules import load  # noqa: PLC0415  YAML may be missing
    from dockbus_producer.rules.telling import summary  # noqa: PLC0415

    wrong = False
    for file in files:
        try:
            for rule in load(file):
                terminal.line(summary(rule))
        except RuleError as error:
            wrong = True
            for mistake in re.split(rf"; (?={re.escape(str(file))}[^;]*?:\d+: )", error.detail):
                output.error(mistake)
    if wrong:
        raise typer.Exit(1)


@rules.command("test")
def try_out(
    file: File,
    event: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(
            metavar="FILE",
            help="An event as JSON, as `dockbus events --json` shows it; `-`: stdin.",
        ),
    ] = None,
    container: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(
            metavar="FILE",
            help="A container as JSON, as `dockbus containers --json` shows it. Without --event: as a resync finds it.",
        ),
    ] = None,
) -> None:
    """Say what each rule makes of an event, a container, or both. Redis is not asked."""
    from dockbus_producer.rules import Occasion, load  # noqa: PLC0415
    from dockbus_producer.rules.telling import answer  # noqa: PLC0415

    if not (event or container):
        raise typer.BadParameter("give --event, --container or both")
    state = _parsed(ContainerState, container.read(), "--container") if container else None
    if event:
        told = _parsed(Event, event.read(), "--event")
    else:
        told = Event(source=f"/engines/{state.engine if state else ''}", type=RESYNCED)
    occasion = Occasion(told, state) if state else Occasion.of(told)
    for rule in load(file):
        terminal.line(f"{rule.name}: {answer(rule, occasion, told.time)}")


@rules.command()
def explain(
    which: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A rule in force, or a rule file.")
    ],
    last: Annotated[
        float, typer.Option(parser=seconds, metavar="SPAN", help="Of events no older than this.")
    ] = 3600.0,
    subject: Annotated[
        str, typer.Option(metavar="ID", help="Only of events about this; the first digits do.")
    ] = "",
) -> None:
    """Say of each event that is kept what rules made of it, and where one did not match, what was in the way."""
    chosen = _chosen(which)
    with Bus.connect() as bus:
        since = f"{max(round((time.time() - last) * 1000), 0)}-0"
        others = 0
        for stored in bus.events(since=since, follow=False):
            heard = [rule for rule in chosen if rule.hears(stored.event.type)]
            if not stored.event.subject.startswith(subject):
                continue
            others += not heard
            for rule in heard:
                _explain(bus, rule, stored)
        if others:
            terminal.note(f"{others} events of types that no rule is asked about")
        _explain_now(bus, [rule for rule in chosen if rule.state], subject)


@rules.command()
def suspended(as_json: Json = False) -> None:
    """List what rules do nothing about any more, since what they did was not enough."""
    from dockbus_producer.gate import Gate  # noqa: PLC0415

    with Bus.connect() as bus:
        found = Gate(bus.redis).suspensions()
    if as_json:
        output.document(found)
        return
    terminal.table(
        ("RULE", "OBJECT", "UNTIL, IF QUIET"),
        ((one.rule, one.object, f"{one.ends.astimezone():%Y-%m-%d %H:%M:%S}") for one in found),
    )


@rules.command()
def resume(
    name: Name,
    subject: Annotated[
        str | None, typer.Argument(metavar="OBJECT", help="As `suspended` lists it. Default: all.")
    ] = None,
) -> None:
    """Let a rule act again at once on what it is suspended for, and tell of it in an event."""
    from dockbus_producer.firing import tell_resumed  # noqa: PLC0415
    from dockbus_producer.gate import Gate  # noqa: PLC0415

    with Bus.connect() as bus:
        gate = Gate(bus.redis)
        found = [one for one in gate.suspensions(name) if subject in (None, one.object)]
        if not found:
            raise typer.BadParameter(
                f"rule {name!r} is not suspended{f' for {subject!r}' if subject else ''}"
            )
        for one in found:
            if gate.resume(one):
                tell_resumed(bus, one, "asked")
                terminal.line(f"{one.rule} {one.object}")


@rules.command()
def dead(name: Name, as_json: Json = False) -> None:
    """List the dead jobs that a rule has ordered; `dockbus replay ID` orders one again."""
    with Bus.connect() as bus:
        found = [
            job
            for job in bus.jobs(limit=ALL, states=[JobState.DEAD])
            if job.terms and (job.terms.key or "").startswith(f"rule:{name}:")
        ]
    output.document(found) if as_json else output.jobs(found)


def _chosen(which: str) -> list[Rule]:
    """The rules of a file, or the one of that name that is in force."""
    from dockbus_producer.rules import load  # noqa: PLC0415

    if Path(which).exists():
        return load(Path(which))
    path = Settings.from_env().watch.rules
    known = {rule.name: rule for rule in (load(Path(path)) if path else [])}
    if which not in known:
        raise RuleError(
            f"{which!r} is neither a file nor a rule of DOCKBUS_WATCH_RULES{near_miss(which, list(known))}"
        )
    return [known[which]]


def _explain(bus: Bus, rule: Rule, stored: StoredEvent) -> None:
    """One line of what a rule made of an event."""
    from dockbus_producer.rules import Occasion  # noqa: PLC0415

    event, millis = stored.event, int(stored.position.partition("-")[0])
    if rule.state and event.type == RESYNCED:  # what there was then is not known any more
        return
    occasion = Occasion.of(event)
    if occasion.needs_look and occasion.engine:
        occasion = Occasion(event, bus.snapshot.container(occasion.engine, event.subject))
    _line(bus, rule, occasion, datetime.fromtimestamp(millis / 1000, UTC))


def _explain_now(bus: Bus, chosen: list[Rule], subject: str) -> None:
    """What rules on states make of the containers that there are."""
    from dockbus_producer.rules import Occasion  # noqa: PLC0415

    for container in bus.snapshot.containers() if chosen else []:
        if container.id.startswith(subject):
            event = Event(source=f"/engines/{container.engine}", type=RESYNCED)
            for rule in chosen:
                _line(bus, rule, Occasion(event, container))


def _line(bus: Bus, rule: Rule, occasion: Occasion, heard: datetime | None = None) -> None:
    """What a rule makes of an occasion that came up then; None: now."""
    from dockbus_producer.gate import Gate  # noqa: PLC0415
    from dockbus_producer.rules.telling import answer  # noqa: PLC0415

    said = answer(rule, occasion, heard or occasion.event.time)
    if not said.startswith("no: "):
        verdict = Gate(bus.redis).decided(rule, occasion)
        said = f"it was decided: {verdict}" if verdict else said
    about = f"{occasion.event.type} {occasion.subject[:12]}"
    when = f"{occasion.event.time.astimezone():%Y-%m-%d %H:%M:%S}"
    terminal.line(f"{when if heard else 'now'}  {about}  {rule.name}: {said}")


def _parsed(model: type[M], text: bytes, option: str) -> M:
    try:
        found = from_json(text)
        whole = "event" in found if isinstance(found, dict) else False  # as it lies in the stream
        return model.model_validate_json(to_json(found["event"]) if whole else text)
    except ValidationError as error:
        raise typer.BadParameter(explain_error(error), param_hint=option) from None
    except ValueError as error:
        raise typer.BadParameter(f"no JSON: {error}", param_hint=option) from None
