"""`dockbus run`: the options of a run job, named as Docker's own command line names them where it has them.

They are a table: each row says which field of the spec an option fills, and the spec checks what is given.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from dockbus.cli.options import Image, json_or_text, labels, pairs
from dockbus.cli.submit import submits
from dockbus.jobs import Run
from dockbus.jobs.running.mounts import parse_tmpfs


@dataclass(frozen=True)
class _Option:
    """One option and the field that it fills; a dot leads into a part of the spec."""

    names: str
    field: str
    meaning: str
    metavar: str | None = None
    type: Any = str
    """Of its value; `list` may be given several times, `bool` is a switch."""
    read: Callable[[Any], Any] = lambda value: value
    """The field's value from the option's."""

    @property
    def parameter(self) -> str:
        return self.names.split()[0].strip("-").replace("-", "_")

    def declared(self, panel: str) -> inspect.Parameter:
        """It as a parameter of the command."""
        several = self.type is list
        option = typer.Option(
            *self.names.split(),
            metavar=self.metavar,
            help=f"{self.meaning}; may be repeated." if several else f"{self.meaning}.",
            rich_help_panel=panel,
            show_default=False,
        )
        value: Any = list[str] if several else self.type
        return inspect.Parameter(
            self.parameter,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if self.type is bool else None,
            annotation=Annotated[value if self.type is bool else value | None, option],
        )


def _pairs(option: str) -> Callable[[Sequence[str]], dict[str, str]]:
    return lambda texts: pairs(texts, option)


def _hosts(texts: Sequence[str]) -> dict[str, str]:
    return {name: address for name, _, address in (text.partition(":") for text in texts)}


def _files(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Files of this machine, `FILE:PATH`, with their permissions."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        file, sign, path = text.rpartition(":")
        try:
            content, mode = Path(file).read_text(), Path(file).stat().st_mode & 0o777
        except (OSError, UnicodeError) as error:
            raise typer.BadParameter(f"{file}: {error}", param_hint="--file") from None
        if not sign:
            raise typer.BadParameter(f"{text!r} is not FILE:PATH", param_hint="--file")
        found[path] = {"content": content, "mode": mode}
    return found


def _profile(text: str) -> Any:  # noqa: ANN401  JSON of any form
    if text in ("default", "unconfined"):
        return text
    try:
        return json_or_text(Path(text).read_text())
    except OSError as error:
        raise typer.BadParameter(f"{text}: {error.strerror}", param_hint="--seccomp") from None


def _gate(severity: str) -> dict[str, str]:
    return {"fail_on": severity}


def _tmpfs(texts: Sequence[str]) -> list[dict[str, Any]]:
    try:
        return [parse_tmpfs(text) for text in texts]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--tmpfs") from None


_KEY_VALUE = "KEY=VALUE"
_PULL = Run.model_fields["pull"].annotation
_LOG_DRIVER = Run.model_fields["log_driver"].annotation
_OPTIONS: dict[str, tuple[_Option, ...]] = {
    "What it runs": (
        _Option("--name", "name", "Name of the container"),
        _Option("--entrypoint", "entrypoint", "Replaces the image's entry point", read=lambda v: [v]),
        _Option("--env -e", "env", "A variable", _KEY_VALUE, list, _pairs("--env")),
        _Option("--env-secret", "env_from", "A variable that is a secret of the worker", "KEY=SECRET", list, _pairs("--env-secret")),
        _Option("--workdir -w", "working_dir", "Folder to start in"),
        _Option("--user -u", "user", "User or uid:gid"),
        _Option("--group-add", "group_add", "A further group of that user", "GROUP", list),
        _Option("--label -l", "labels", "A label", "KEY[=VALUE]", list, labels),
        _Option("--platform", "platform", "Such as linux/arm64. Default: the Engine's own"),
        _Option("--pull", "pull", "When to pull the image. Default: if-not-present", type=_PULL),
        _Option("--credentials", "credentials", "Secret with the registry's credentials", "SECRET"),
        _Option("--require-scan", "require_scan", "Only if a scan finds nothing at least this bad", "SEVERITY", read=_gate),
        _Option("--stop-signal", "stop_signal", "Signal that asks it to stop", "SIGNAL"),
        _Option("--stop-timeout", "stop_timeout", "Time until it is killed then: 30s", "TIME"),
        _Option("--log-driver", "log_driver", "Where its output is kept. Default: json-file", type=_LOG_DRIVER),
        _Option("--log-opt", "log_options", "Option of the log driver", _KEY_VALUE, list, _pairs("--log-opt")),
        _Option("--keep", "remove", "Do not remove the container", type=bool, read=lambda v: not v),
    ),
    "Its network": (
        _Option("--network", "networks", "Network to join instead of `dockbus`", "NAME", list),
        _Option("--publish -p", "ports", "Port to open, on loopback unless an address is given", "[[ADDRESS:]HOST:]PORT", list),
        _Option("--hostname", "hostname", "Host name that it sees", "NAME"),
        _Option("--add-host", "extra_hosts", "Line for its /etc/hosts", "NAME:ADDRESS", list, _hosts),
        _Option("--dns", "dns", "Name server", "ADDRESS", list),
    ),
    "Its files": (
        _Option("--volume -v", "volumes", "Volume, or folder of the Engine's machine", "SOURCE:PATH[:ro]", list),
        _Option("--tmpfs", "volumes", "Memory at a path", "PATH[:size=64m]", list, _tmpfs),
        _Option("--read-only", "read_only", "It may write to volumes and tmpfs only", type=bool),
        _Option("--secret", "secrets", "Secret of the worker, as file /run/secrets/NAME", "NAME", list),
        _Option("--file", "files", "Text file of this machine to put into it", "FILE:PATH", list, _files),
        _Option("--collect", "collect", "Path to keep as an artefact when it has ended", "PATH", list),
    ),
    "Its limits": (
        _Option("--memory -m", "memory", "Most memory, such as 512m; 0 is no limit. Default: 1g", "SIZE"),
        _Option("--memory-swap", "memory_swap", "Most memory and swap together", "SIZE"),
        _Option("--cpus", "cpus", "Most CPUs, such as 1.5", type=float),
        _Option("--cpu-shares", "cpu_shares", "Weight where CPUs are scarce", type=int),
        _Option("--cpuset-cpus", "cpuset", "CPUs it may run on, such as 0-2"),
        _Option("--pids-limit", "pids", "Most processes; 0 is no limit. Default: 1024", type=int),
        _Option("--ulimit", "ulimits", "Limit of each process", "NAME=SOFT[:HARD]", list),
        _Option("--shm-size", "shm_size", "Size of /dev/shm", "SIZE"),
    ),
    "Its isolation": (
        _Option("--cap-add", "cap_add", "Capability to give", "NAME", list),
        _Option("--cap-drop", "cap_drop", "Capability to take. Default: ALL", "NAME", list),
        _Option("--device", "devices", "Device of the Engine's machine", "HOST[:PATH[:rwm]]", list),
        _Option("--sysctl", "sysctls", "Kernel parameter of its own", _KEY_VALUE, list, _pairs("--sysctl")),
        _Option("--seccomp", "seccomp", "File with a profile, or unconfined", "FILE", read=_profile),
        _Option("--privileged", "privileged", "Root on the machine; a policy may refuse it", type=bool),
    ),
    "As a service": (
        _Option("--service", "mode", "Start it and leave it running", type=bool, read=lambda _: "service"),
        _Option("--wait-healthy", "wait_healthy", "Time it has to become healthy: 60s", "TIME"),
        _Option("--restart", "restart", "no (default), always, unless-stopped or on-failure[:N]", "POLICY"),
        _Option("--health-cmd", "healthcheck.test", "Command that says whether it is well, or none", "COMMAND"),
        _Option("--health-interval", "healthcheck.interval", "Time between two of them", "TIME"),
        _Option("--health-timeout", "healthcheck.timeout", "Time one may take", "TIME"),
        _Option("--health-retries", "healthcheck.retries", "Failures in a row that make it unhealthy", type=int),
        _Option("--health-start-period", "healthcheck.start_period", "Time in which failures do not count", "TIME"),
    ),
}  # fmt: skip


def make(image: Image, command: list[str] | None = None, **given: Any) -> Run:  # noqa: ANN401  see the table
    """Run a container to its end and exit with its exit code, or start a service. Ctrl-C cancels the job."""
    fields: dict[str, Any] = {"image": image}
    if command:
        fields["command"] = command
    for option in _all():
        value = given[option.parameter]
        if value is None or value is False or value == []:
            continue
        part, _, leaf = option.field.rpartition(".")
        into = fields.setdefault(part, {}) if part else fields
        read = option.read(value)
        into[leaf] = (
            [*into.get(leaf, ()), *read] if option.type is list and isinstance(read, list) else read
        )
    return Run.model_validate(fields)


def _all() -> Iterable[_Option]:
    return (option for options in _OPTIONS.values() for option in options)


_COMMAND = typer.Argument(
    metavar="COMMAND", help="Program and arguments, after `--`. Default: the image's own."
)
make.__name__ = "run"
make.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
    [
        inspect.Parameter("image", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Image),
        inspect.Parameter(
            "command",
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=None,
            annotation=Annotated[list[str] | None, _COMMAND],
        ),
        *(option.declared(panel) for panel, options in _OPTIONS.items() for option in options),
    ]
)
run = submits(make)
