"""The commands that put a job on the bus: each turns its options into a spec, `submits` does the rest."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from dockbus.cli.delivery import Delivery
from dockbus.cli.options import Image, Labels, labels, pairs, seconds
from dockbus.errors import InvalidSpec
from dockbus.jobs import Build, Cleanup, Pull, Run, Scan, Severity, Spec, explain


def submits(make: Callable[..., Spec]) -> Callable[..., None]:
    """The command that sends the spec which `make` makes of its options, with the options of `Delivery` added."""

    @functools.wraps(make)
    def command(**given: Any) -> None:  # noqa: ANN401  each command has options of its own
        delivery = Delivery(**{field.name: given.pop(field.name) for field in fields(Delivery)})
        try:
            spec = make(**given)
        except ValidationError as error:
            raise InvalidSpec(explain(error)) from None
        delivery.send(spec)

    both = [
        parameter
        for source in (make, Delivery)
        for parameter in inspect.signature(source, eval_str=True).parameters.values()
    ]
    command.__signature__ = inspect.Signature(both)  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
    return command


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


@submits
def pull(
    image: Image,
    platform: Annotated[
        str | None, typer.Option(help="Such as linux/arm64. Default: the Engine's own.")
    ] = None,
) -> Pull:
    """Bring an image from its registry to the Engine."""
    return Pull(image=image, platform=platform)


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


@submits
def scan(
    image: Image,
    ignore_unfixed: Annotated[
        bool, typer.Option("--ignore-unfixed", help="Leave out what no version fixes.")
    ] = False,
    fail_on: Annotated[
        Severity | None,
        typer.Option(case_sensitive=False, help="Exit with 2 on a finding at least this bad."),
    ] = None,
) -> Scan:
    """Look for known vulnerabilities in an image that the Engine has."""
    return Scan(image=image, ignore_unfixed=ignore_unfixed, fail_on=fail_on)


@submits
def cleanup(
    containers: Annotated[bool, typer.Option(help="Remove stopped containers.")] = True,
    images: Annotated[bool, typer.Option("--images", help="Remove dangling images.")] = False,
    label: Labels = None,
    older_than: Annotated[
        float, typer.Option(parser=seconds, metavar="TIME", help="Only what is older: 90s, 7d.")
    ] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing.")] = False,
) -> Cleanup:
    """Remove stopped containers and dangling images."""
    return Cleanup(
        containers=containers,
        images=images,
        labels=labels(label or ()),
        older_than=older_than,
        dry_run=dry_run,
    )
