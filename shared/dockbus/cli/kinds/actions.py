"""`dockbus restart`, `stop`, `start`, `remove` and `exec`: what is done to one container that is there."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from dockbus.cli.options import pairs
from dockbus.cli.submit import submits
from dockbus.jobs import Exec, Remove, Restart, Start, Stop


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a time such as 2026-10-07T12:00:00.123456Z"
        ) from None


_Container = Annotated[
    str, typer.Argument(metavar="CONTAINER", help="Its name, or twelve digits of its ID or more.")
]
_OnlyIf = Annotated[
    str | None,
    typer.Option(
        metavar="CEL", help="Only if that holds then, such as: container.health == 'unhealthy'"
    ),
]
_Started = Annotated[
    datetime | None,
    typer.Option(
        parser=_moment, metavar="TIME", help="Only if it was last started at this very moment."
    ),
]
_Grace = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="How long it has to stop before it is killed: 30s."),
]
_Signal = Annotated[
    str | None, typer.Option(metavar="NAME", help="The signal that asks it to stop.")
]


@submits
def restart(
    container: _Container,
    stop_timeout: _Grace = None,
    signal: _Signal = None,
    only_if: _OnlyIf = None,
    started: _Started = None,
) -> Restart:
    """Restart a container."""
    return Restart(
        container=container,
        timeout=stop_timeout,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  parsed by the spec
        signal=signal,
        only_if=only_if,
        started=started,
    )


@submits
def stop(
    container: _Container,
    stop_timeout: _Grace = None,
    signal: _Signal = None,
    only_if: _OnlyIf = None,
    started: _Started = None,
) -> Stop:
    """Stop a container."""
    return Stop(
        container=container,
        timeout=stop_timeout,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        signal=signal,
        only_if=only_if,
        started=started,
    )


@submits
def start(container: _Container, only_if: _OnlyIf = None, started: _Started = None) -> Start:
    """Start a container that does not run."""
    return Start(container=container, only_if=only_if, started=started)


@submits
def remove(
    container: _Container,
    force: Annotated[bool, typer.Option("--force", "-f", help="Kill it first.")] = False,
    volumes: Annotated[
        bool, typer.Option("--volumes", "-v", help="Remove its anonymous volumes as well.")
    ] = False,
    only_if: _OnlyIf = None,
    started: _Started = None,
) -> Remove:
    """Remove a container."""
    return Remove(
        container=container, force=force, volumes=volumes, only_if=only_if, started=started
    )


def _run_command(
    container: _Container,
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="Program and arguments, after `--`.")
    ],
    user: Annotated[str | None, typer.Option("--user", "-u", help="User it runs as.")] = None,
    workdir: Annotated[
        str | None, typer.Option("--workdir", "-w", metavar="PATH", help="Folder it starts in.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="KEY=VALUE", help="A variable; may be repeated."),
    ] = None,
    env_from: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=SECRET", help="A variable from a secret; may be repeated."),
    ] = None,
    only_if: _OnlyIf = None,
    started: _Started = None,
) -> Exec:
    """Run a command in a container that runs; exits with its exit code."""
    given: dict[str, Any] = {
        "env": pairs(env or (), "--env"),
        "env_from": pairs(env_from or (), "--env-from"),
    }
    return Exec(
        container=container,
        command=command,
        user=user,
        working_dir=workdir,
        only_if=only_if,
        started=started,
        **given,
    )


_run_command.__name__ = "exec"
run_command = submits(_run_command)
