"""What the command line says of the bus: tables and summaries for people, JSON for programs, errors for both."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from pydantic import BaseModel
from pydantic_core import to_json
from rich.table import Table
from rich.text import Text

from dockbus.artefacts import Artefact
from dockbus.checks import Check, Level
from dockbus.cli.results import result, what
from dockbus.cli.terminal import Cell, cell, console, line, printable, short, table
from dockbus.doctor import Setting
from dockbus.errors import DockbusError
from dockbus.joblog import LogLine
from dockbus.jobs import CleanupResult, ScanResult
from dockbus.records import JobRecord, JobState, QueueRecord
from dockbus.units import show_size, show_span

_STATE = {
    JobState.WAITING: "cyan",
    JobState.SCHEDULED: "cyan",
    JobState.QUEUED: "cyan",
    JobState.STARTED: "blue",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.DEAD: "bold red",
    JobState.CANCELED: "yellow",
}
_LEVEL = {Level.OK: "green", Level.WARNING: "yellow", Level.MISSING: "red"}
_LONG = {
    "kind",
    "vulnerabilities",
    "secrets",
    "misconfigurations",
    "licenses",
    "suppressed",
    "items",
}
"""Fields of results that are no one-line matter."""


def document(value: object) -> None:
    """One JSON document: a model, or a list of them."""
    sys.stdout.write(to_json(value, indent=2).decode() + "\n")
    sys.stdout.flush()


def json_line(value: object) -> None:
    """One JSON document on one line, part of a stream of them."""
    sys.stdout.write(to_json(value).decode() + "\n")
    sys.stdout.flush()


def error(problem: DockbusError | str, *, as_json: bool = False) -> None:
    """What went wrong, in one line on stderr."""
    if as_json and isinstance(problem, DockbusError):
        fields = {name: getattr(problem, name) for name in ("code", "title", "detail", "advice")}
        sys.stderr.write(json.dumps(fields) + "\n")
        return
    text = Text.assemble(("dockbus:", "bold red"), " ", printable(" ".join(str(problem).split())))
    console(stderr=True).print(text, soft_wrap=True)


# -- jobs, queues --------------------------------------------------------------------------


def jobs(records: Sequence[JobRecord]) -> None:
    """A table of jobs."""
    now = datetime.now(UTC)
    table(
        ("ID", "KIND", "WHAT", "STATE", "AGE", "DURATION", ">TRIES"),
        (
            (
                job.id,
                job.kind,
                short(what(job.spec) if job.spec else str(job.error and job.error.title)),
                _state(job.state),
                show_span((now - job.created).total_seconds()),
                _duration(job, now),
                job.attempts,
            )
            for job in records
        ),
    )


def job(record: JobRecord, log: Iterable[LogLine] = ()) -> None:
    """Everything about one job; `log`: the lines of its log that are worth showing."""
    fields: dict[str, Cell] = {
        "id": record.id,
        "kind": record.kind,
        "state": _state(record.state),
        "queue": record.queue,
        "created": _time(record.created),
        "due": _time(record.due),
        "started": _time(record.started),
        "ended": _time(record.ended),
        "duration": _duration(record, datetime.now(UTC)),
        "attempts": record.attempts,
        "worker": record.worker,
        "engine": record.engine,
    }
    if record.spec:
        fields |= _dotted("spec", record.spec, exclude={"kind"})
    if record.terms:
        fields |= _dotted("terms", record.terms, exclude={"spec"})
    if record.error:
        fields |= _dotted("error", record.error, exclude={"traceback"})
    if record.result:
        fields |= _dotted("result", record.result, exclude=_LONG)
    _fields(fields)
    if isinstance(record.result, ScanResult | CleanupResult):
        line("")
        result(record.result)
    if record.error and record.error.traceback:
        _section("traceback", record.error.traceback)
    if text := "\n".join(entry.text for entry in log):
        _section("end of the log", text)


def queues(records: Iterable[QueueRecord]) -> None:
    """A table of queues."""
    table(
        ("QUEUE", ">QUEUED", ">STARTED", ">SCHEDULED", ">WAITING", ">FAILED", ">WORKERS"),
        (
            (
                queue.name,
                queue.queued,
                queue.started,
                queue.scheduled,
                queue.waiting,
                queue.failed,
                Text("0", style="yellow") if queue.queued and not queue.workers else queue.workers,
            )
            for queue in records
        ),
    )


def artefacts(found: Iterable[Artefact]) -> None:
    """A table of the files that a job has left."""
    table(
        ("NAME", ">SIZE", "TYPE"),
        ((artefact.name, show_size(artefact.size), artefact.media_type) for artefact in found),
    )


# -- doctor --------------------------------------------------------------------------------


def checks(found: Iterable[Check]) -> None:
    """The doctor's findings, each with what to do about it below."""
    for check in found:
        level = Text(f"{check.level:<9}", style=_LEVEL[check.level])
        line(Text.assemble(level, (f"{check.name:<19}", "bold"), printable(check.found)))
        if check.advice:
            line(Text.assemble(" " * 9, "→ ", printable(check.advice)))


def settings(listed: Iterable[Setting]) -> None:
    """Every setting, its value and where that comes from."""
    table(
        ("VARIABLE", "VALUE", "FROM", "DEFAULT"),
        ((setting.name, setting.value, setting.origin, setting.default) for setting in listed),
    )


# -- cells ---------------------------------------------------------------------------------


def _fields(fields: dict[str, Cell]) -> None:
    """Names and values, one pair a line; what is empty is left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in fields.items():
        if value not in (None, ""):
            grid.add_row(name, cell(value))
    console().print(grid)


def _section(title: str, text: str) -> None:
    """Lines under a title, never cut."""
    line("")
    line(Text(title, style="bold"))
    line(text.rstrip("\n"))


def _dotted(group: str, model: BaseModel, exclude: set[str] | None = None) -> dict[str, Cell]:
    """A model's fields that differ from their defaults, as `group.field`."""
    values = model.model_dump(mode="json", exclude=exclude, exclude_defaults=True)
    return {
        f"{group}.{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }


def _state(state: JobState) -> Text:
    return Text(state, style=_STATE[state])


def _duration(job: JobRecord, now: datetime) -> str:
    if job.state is JobState.STARTED and job.started:
        return show_span((now - job.started).total_seconds())
    return "" if job.duration is None else show_span(job.duration)


def _time(moment: datetime | None) -> str | None:
    """Local time, to the second."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else None
