"""What a person sees of a job's spec and of its result, kind by kind."""

from __future__ import annotations

from rich.text import Text

from dockbus.cli.terminal import line, note, printable, short, table
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
from dockbus.units import show_size, show_span

_SEVERITY = {Severity.CRITICAL: "bold red", Severity.HIGH: "red", Severity.MEDIUM: "yellow"}


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
        table(
            ("SEVERITY", "ID", "PACKAGE", "INSTALLED", "FIXED", "TITLE"),
            (
                (
                    Text(found.severity, style=_SEVERITY.get(found.severity, "")),
                    found.id,
                    found.package,
                    found.installed,
                    found.fixed,
                    short(found.title),
                )
                for found in value.vulnerabilities
            ),
        )
    worst_first = sorted(value.counts.items(), key=lambda pair: -pair[0].rank)
    counts = ", ".join(f"{count} {level.lower()}" for level, count in worst_first if count)
    line(f"{value.image}: {counts or 'nothing found'}; {value.verdict}")


def _cleanup(value: CleanupResult) -> None:
    if value.items:
        table(
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
