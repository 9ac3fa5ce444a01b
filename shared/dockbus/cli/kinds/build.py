"""`dockbus build`: the options of a build job, named as Docker's own command line names them where it has them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from dockbus import contexts
from dockbus.bus import Bus
from dockbus.cli.options import Labels, labels, pairs
from dockbus.cli.submit import submits
from dockbus.dockerignore import DockerIgnore
from dockbus.jobs import Build
from dockbus.jobs.build import LocalCache, RegistryCache, Repository, Upload

_Caches = list[str] | None
_LOCAL = "local:"


@submits
def build(
    context: Annotated[
        str, typer.Argument(help="Folder on the worker's machine, or URL of a Git repository.")
    ],
    tag: Annotated[list[str], typer.Option("--tag", "-t", help="A name for it; may be repeated.")],
    upload: Annotated[
        bool, typer.Option("--upload", help="Send the folder, which is on this machine.")
    ] = False,
    ref: Annotated[
        str, typer.Option(help="Branch, tag or commit of the repository.", show_default=False)
    ] = "HEAD",
    folder: Annotated[
        str, typer.Option(help="Folder of the repository.", show_default=False)
    ] = ".",
    git_credentials: Annotated[
        str | None, typer.Option(metavar="SECRET", help="Secret that opens the repository.")
    ] = None,
    file: Annotated[
        str, typer.Option("--file", "-f", help="The Dockerfile, within the context.")
    ] = "Dockerfile",
    build_arg: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A value for an ARG; no secrets. May be repeated."),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar="ID=SECRET", help="A secret for RUN --mount; may be repeated."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Stage to build. Default: the last.")] = None,
    label: Labels = None,
    platform: Annotated[
        list[str] | None, typer.Option(help="Such as linux/arm64; may be repeated.")
    ] = None,
    network: Annotated[
        Literal["default", "none"], typer.Option(help="Network of RUN instructions.")
    ] = "default",
    pull: Annotated[bool, typer.Option("--pull", help="Look for newer base images.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every step anew.")] = False,
    cache_from: Annotated[
        _Caches, typer.Option(metavar="NAME", help="Image or local:NAME; may be repeated.")
    ] = None,
    cache_to: Annotated[
        _Caches, typer.Option(metavar="NAME", help="Image or local:NAME; may be repeated.")
    ] = None,
    inline_cache: Annotated[
        bool, typer.Option("--inline-cache", help="Let the image be a cache for others.")
    ] = False,
    provenance: Annotated[
        bool, typer.Option("--provenance", help="Attest how it was made.")
    ] = False,
    sbom: Annotated[bool, typer.Option("--sbom", help="Attest what is in it.")] = False,
    push: Annotated[bool, typer.Option("--push", help="Push it under all its tags.")] = False,
    credentials: Annotated[
        str | None, typer.Option(metavar="SECRET", help="Secret for the push.")
    ] = None,
    lint: Annotated[
        Literal["off", "warn", "error"], typer.Option(help="What faults in the Dockerfile do.")
    ] = "warn",
    report: Annotated[bool, typer.Option("--report", help="Say where its bytes are.")] = False,
    min_efficiency: Annotated[
        float | None, typer.Option(help="Fail below that, from 0 to 1.")
    ] = None,
    max_wasted: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Fail above that, such as 50m.")
    ] = None,
) -> Build:
    """Make an image from a Dockerfile and its context: a folder of the worker, one that is sent along, or a repository."""
    source = _source(
        context, upload=upload, ref=ref, folder=folder, credentials=git_credentials, dockerfile=file
    )
    return Build(
        context=source,
        tags=tag,
        dockerfile=file,
        args=pairs(build_arg or (), "--build-arg"),
        secrets=pairs(secret or (), "--secret"),
        target=target,
        labels=labels(label or ()),
        platforms=platform or [],
        network=network,
        pull=pull,
        no_cache=no_cache,
        cache_from=[_cache(name) for name in cache_from or ()],
        cache_to=[_cache(name) for name in cache_to or ()],
        inline_cache=inline_cache,
        provenance=provenance,
        sbom=sbom,
        push=push,
        credentials=credentials,
        lint=lint,
        report=report,
        min_efficiency=min_efficiency,
        max_wasted=max_wasted,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  parsed by the spec
    )


def _source(
    context: str, *, upload: bool, ref: str, folder: str, credentials: str | None, dockerfile: str
) -> str | Upload | Repository:
    if "://" in context:
        if upload:
            raise typer.BadParameter(
                "the worker fetches a repository itself", param_hint="--upload"
            )
        return Repository(git=context, ref=ref, folder=folder, credentials=credentials)
    if (ref, folder, credentials) != ("HEAD", ".", None):
        raise typer.BadParameter(
            "--ref, --folder and --git-credentials are for URLs", param_hint="CONTEXT"
        )
    return (
        Upload(blob=_sent(Path(context), dockerfile)) if upload else str(Path(context).absolute())
    )


def _sent(folder: Path, dockerfile: str) -> str:
    """Put the folder on the bus, what `.dockerignore` leaves out not included; the digest of it."""
    if not (folder / dockerfile).is_file():
        raise typer.BadParameter(f"there is no {folder / dockerfile}", param_hint="CONTEXT")
    with tempfile.NamedTemporaryFile() as archive, Bus.connect() as bus:
        contexts.pack(folder, DockerIgnore.read(folder, dockerfile), archive, compress=True)
        archive.flush()
        return bus.upload(Path(archive.name)).digest


def _cache(name: str) -> RegistryCache | LocalCache:
    if name.startswith(_LOCAL):
        return LocalCache(local=name.removeprefix(_LOCAL))
    return RegistryCache(registry=name)
