"""What a person sees of a job's spec and of its result, kind by kind."""

from __future__ import annotations

from rich.text import Text

from dockbus.cli import findings
from dockbus.cli.terminal import line, note, printable, table
from dockbus.jobs import (
    Action,
    ActionResult,
    Build,
    BuildResult,
    Cleanup,
    CleanupItem,
    CleanupResult,
    Exec,
    ExecResult,
    NotDone,
    PullResult,
    Result,
    RunResult,
    ScanResult,
    Spec,
)
from dockbus.jobs.cleanup import Reason
from dockbus.units import show_size, show_span

_WHY_NOT = {
    NotDone.GONE: "there is no such container",
    NotDone.OTHER_LIFE: "the container was started at another time",
    NotDone.CONDITION: "the condition does not hold",
    NotDone.RUNNING: "the container runs already",
    NotDone.STOPPED: "the container does not run",
}


def what(spec: Spec) -> str:
    """What a job is about, in a few words."""
    match spec:
        case Cleanup():
            return _leftovers(spec) + (" (dry run)" if spec.dry_run else "")
        case Build():
            return spec.tags[0]
        case Exec():
            return " ".join([spec.container, *spec.command])
        case Action():
            return spec.container
        case _:
            return " ".join(
                [spec.image or "vulnerability database", *(getattr(spec, "command", None) or ())]
            )


def result(value: Result) -> None:
    """What a job that succeeded has left behind."""
    match value:
        case RunResult(exit_code=None):
            ports = [f"{port.address}:{port.host}" for port in value.ports]
            where = f" at {', '.join(ports)}" if ports else ""
            note(f"container {value.container_id[:12]} is up{where}")
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
            findings.show(value)
        case CleanupResult():
            _cleanup(value)
        case ActionResult(done=False):
            note(f"nothing done: {_WHY_NOT[value.reason] if value.reason else ''}")
        case ExecResult():
            note(f"exit code {value.exit_code} after {show_span(value.duration)}")
        case ActionResult():
            note(f"container {(value.container_id or '')[:12]} is {value.state or 'gone'}")


def _leftovers(spec: Cleanup) -> str:
    """What a cleanup job is to remove."""
    wanted = {
        "containers": spec.containers,
        "images": spec.images != "no",
        "networks": spec.networks,
        "volumes": spec.volumes != "no",
        "build cache": spec.build_cache is not None,
    }
    *others, last = (name for name, is_wanted in wanted.items() if is_wanted)
    return f"{', '.join(others)} and {last}" if others else last


def _cleanup(value: CleanupResult) -> None:
    if value.items:
        table(
            ("TYPE", "ID", "NAME", ">SIZE", "", "WHY"),
            (
                (
                    item.type,
                    "" if item.id == item.name else item.id.removeprefix("sha256:")[:12],
                    item.name,
                    show_size(item.size),
                    item.outcome,
                    _why(item),
                )
                for item in value.items
            ),
        )
    told = sum(item.outcome == "skipped" for item in value.items)
    if (skipped := sum(value.skipped.values())) > told:
        note(f"{skipped - told} more were skipped")
    verb = "would be reclaimed" if value.dry_run else "reclaimed"
    disk = f"; the disk is {value.disk_after}% full" if value.disk_after is not None else ""
    line(f"{show_size(value.reclaimed)} {verb}{disk}")


def _why(item: CleanupItem) -> Text | None:
    if not item.reason:
        return None
    words = f"{item.reason.value}: {item.detail}" if item.detail else item.reason.value
    return Text(printable(words), style="red" if item.reason is Reason.REFUSED else "dim")
