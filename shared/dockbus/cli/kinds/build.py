"""`dockbus build`: the options of a build job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dockbus.cli.options import pairs
from dockbus.cli.submit import submits
from dockbus.jobs import Build


@submits
def build(
    context: Annotated[Path, typer.Argument(help="Folder on the worker's machine.")],
    tag: Annotated[list[str], typer.Option("--tag", "-t", help="A name for it; may be repeated.")],
    file: Annotated[
        str, typer.Option("--file", "-f", help="The Dockerfile, within the context.")
    ] = "Dockerfile",
    build_arg: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A value for an ARG; no secrets. May be repeated."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Stage to build. Default: the last.")] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every step anew.")] = False,
) -> Build:
    """Make an image from a Dockerfile and its context folder."""
    return Build(
        context=str(context.absolute()),
        tags=tag,
        dockerfile=file,
        args=pairs(build_arg or (), "--build-arg"),
        target=target,
        no_cache=no_cache,
    )
