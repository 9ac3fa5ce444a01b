"""`dockbus run`: the options of a run job."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from dockbus.cli.options import Image, Labels, labels, pairs
from dockbus.cli.submit import submits
from dockbus.jobs import Run


@submits
def run(
    image: Image,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND", help="Program and arguments, after `--`. Default: the image's own."
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="KEY=VALUE", help="A variable; may be repeated."),
    ] = None,
    workdir: Annotated[
        str | None, typer.Option("--workdir", "-w", help="Folder to start in.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="User or uid:gid.")] = None,
    network: Annotated[str, typer.Option(help="Network to join.")] = "bridge",
    memory: Annotated[
        str | None,
        typer.Option("--memory", "-m", metavar="SIZE", help="Most memory, such as 512m."),
    ] = None,
    cpus: Annotated[float | None, typer.Option(help="Most CPUs, such as 1.5.")] = None,
    label: Labels = None,
    pull: Annotated[
        Literal["if-not-present", "always", "never"], typer.Option(help="When to pull the image.")
    ] = "if-not-present",
    keep: Annotated[bool, typer.Option("--keep", help="Do not remove the container.")] = False,
) -> Run:
    """Run a container to its end; exits with its exit code. Ctrl-C cancels the job."""
    return Run(
        image=image,
        command=command or None,
        env=pairs(env or (), "--env"),
        working_dir=workdir,
        user=user,
        network=network,
        memory=memory,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  parsed by the spec
        cpus=cpus,
        labels=labels(label or ()),
        pull=pull,
        remove=not keep,
    )
