"""All that the command line says: tables and summaries for people, JSON for programs, errors for both.

Results go to stdout, everything about them (progress, notes, errors) to stderr. Where a stream is no
terminal, nothing is coloured, cut or wrapped. Texts come from the bus, so they are never read as markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache

from pydantic import BaseModel
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dockbus.doctor import Check, Level, Setting
from dockbus.errors import DockbusError
from dockbus.events import StoredEvent
from dockbus.joblog import LogLine
from dockbus.jobs import (
    Build,
    BuildResult,
    Cleanup,
    CleanupResult,
    PullResult,
    Result,
    RunResult,
    ScanResult,
    Severity,
    Spec,
)
from dockbus.records import JobRecord, JobState, QueueRecord
from dockbus.units import show_size, show_span

Cell = str | Text | int | None

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
_SEVERITY = {Severity.CRITICAL: "bold red", Severity.HIGH: "red", Severity.MEDIUM: "yellow"}
_LEVEL = {Level.OK: "green", Level.WARNING: "yellow", Level.MISSING: "red"}


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


# -- jobs, queues, events ------------------------------------------------------------------


def jobs(records: Sequence[JobRecord]) -> None:
    """A table of jobs."""
    now = datetime.now(UTC)
    _table(
        ("ID", "KIND", "WHAT", "STATE", "AGE", "DURATION", ">TRIES"),
        (
            (
                job.id,
                job.kind,
                _short(what(job.spec) if job.spec else str(job.error and job.error.title)),
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
        fields |= _dotted("result", record.result, exclude={"kind", "vulnerabilities", "items"})
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
    _table(
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


def event(stored: StoredEvent) -> None:
    """One event, on one line."""
    fact = stored.event
    data = " ".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in fact.data.items()
    )
    line(
        Text.assemble(
            (_time(fact.time) or "", "dim"),
            f"  {printable(fact.type)}",
            (f"  {printable(fact.subject)}", "bold"),
            (f"  {printable(data)}" if data else "", "dim"),
        )
    )


def what(spec: Spec) -> str:
    """What a job is about, in a few words."""
    match spec:
        case Cleanup():
            kinds = [name for name in ("containers", "images") if getattr(spec, name)]
            return " and ".join(kinds) + (" (dry run)" if spec.dry_run else "")
        case Build():
            return spec.tags[0]
        case _:
            return " ".join([spec.image, *(getattr(spec, "command", None) or ())])


# -- results -------------------------------------------------------------------------------


def result(value: Result) -> None:
    """What a job that succeeded has left behind."""
    match value:
        case RunResult():
            killed = "; the kernel killed it for want of memory" if value.oom_killed else ""
            note(f"exit code {value.exit_code} after {show_span(value.duration)}{killed}")
        case PullResult():
            line(f"{value.image}  {value.image_id}  {value.platform}  {show_size(value.size)}")
        case BuildResult():
            line(f"{' '.join(value.tags)}  {value.image_id}  {show_size(value.size)}")
            note(
                f"{value.steps} steps, {value.cached} of them cached, in {show_span(value.duration)}"
            )
        case ScanResult():
            _scan(value)
        case CleanupResult():
            _cleanup(value)


def _scan(value: ScanResult) -> None:
    if value.vulnerabilities:
        _table(
            ("SEVERITY", "ID", "PACKAGE", "INSTALLED", "FIXED", "TITLE"),
            (
                (
                    Text(found.severity, style=_SEVERITY.get(found.severity, "")),
                    found.id,
                    found.package,
                    found.installed,
                    found.fixed,
                    _short(found.title),
                )
                for found in value.vulnerabilities
            ),
        )
    worst_first = sorted(value.counts.items(), key=lambda pair: -pair[0].rank)
    counts = ", ".join(f"{count} {level.lower()}" for level, count in worst_first if count)
    line(f"{value.image}: {counts or 'nothing found'}; {value.verdict}")


def _cleanup(value: CleanupResult) -> None:
    if value.items:
        _table(
            ("TYPE", "ID", "NAME", ">SIZE", ""),
            (
                (
                    item.type,
                    item.id.removeprefix("sha256:")[:12],
                    item.name,
                    show_size(item.size),
                    item.error and Text(printable(item.error), style="red"),
                )
                for item in value.items
            ),
        )
    verb = "would be reclaimed" if value.dry_run else "reclaimed"
    line(f"{show_size(value.reclaimed)} {verb}")


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
    _table(
        ("VARIABLE", "VALUE", "FROM", "DEFAULT"),
        ((setting.name, setting.value, setting.origin, setting.default) for setting in listed),
    )


# -- cells ---------------------------------------------------------------------------------


def _table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """A table without lines; a column whose title begins with `>` is set flush right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in columns:
        table.add_column(
            title.removeprefix(">"),
            justify="right" if title.startswith(">") else "left",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(_cell, row))
    console().print(table)


def _fields(fields: dict[str, Cell]) -> None:
    """Names and values, one pair a line; what is empty is left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in fields.items():
        if value not in (None, ""):
            grid.add_row(name, _cell(value))
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


def _cell(value: Cell) -> Text:
    if isinstance(value, Text):
        return value
    return Text("" if value is None else printable(str(value)))


def printable(text: str) -> str:
    """The text without what would move a terminal's cursor or change its colours."""
    return "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _state(state: JobState) -> Text:
    return Text(state, style=_STATE[state])


def _duration(job: JobRecord, now: datetime) -> str:
    if job.state is JobState.STARTED and job.started:
        return show_span((now - job.started).total_seconds())
    return "" if job.duration is None else show_span(job.duration)


def _time(moment: datetime | None) -> str | None:
    """Local time, to the second."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else None
