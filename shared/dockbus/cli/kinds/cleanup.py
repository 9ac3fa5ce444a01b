"""`dockbus cleanup`: the options of a cleanup job."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from dockbus.cli.options import Labels, labels, seconds
from dockbus.cli.submit import submits
from dockbus.jobs import Cleanup


@submits
def cleanup(
    containers: Annotated[bool, typer.Option(help="Remove containers that do not run.")] = True,
    state: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATE", help="Only containers that are exited, created or dead; repeatable."
        ),
    ] = None,
    images: Annotated[bool, typer.Option("--images", help="Remove images without a name.")] = False,
    unused_images: Annotated[
        bool, typer.Option("--unused-images", help="Remove all images that no container has.")
    ] = False,
    keep_last: Annotated[
        int, typer.Option(metavar="N", help="Leave the newest N images of each repository.")
    ] = 0,
    unused_for: Annotated[
        float,
        typer.Option(
            parser=seconds, metavar="TIME", help="Only images that nobody has used for so long."
        ),
    ] = 0.0,
    networks: Annotated[
        bool, typer.Option("--networks", help="Remove networks that no container is on.")
    ] = False,
    volumes: Annotated[
        Literal["no", "anonymous", "named", "all"],
        typer.Option(help="Remove such volumes that no container has."),
    ] = "no",
    volume_name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Only named volumes that match, as ci-* does; repeatable."
        ),
    ] = None,
    build_cache: Annotated[bool, typer.Option("--build-cache", help="Remove build cache.")] = False,
    cache_unused_for: Annotated[
        float,
        typer.Option(parser=seconds, metavar="TIME", help="Only build cache not used for so long."),
    ] = 0.0,
    cache_keep: Annotated[
        str, typer.Option(metavar="SIZE", help="Build cache to leave, such as 10g.")
    ] = "0",
    label: Labels = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Names that stay, such as postgres:*; repeatable."),
    ] = None,
    older_than: Annotated[
        float, typer.Option(parser=seconds, metavar="TIME", help="Only what is older: 90s, 7d.")
    ] = 0.0,
    when_disk_over: Annotated[
        str | None,
        typer.Option(metavar="PERCENT", help="Only if the Engine's disk is fuller: 85%."),
    ] = None,
    until_disk_under: Annotated[
        str | None, typer.Option(metavar="PERCENT", help="Stop when it is no fuller: 80%.")
    ] = None,
    at_most: Annotated[
        int, typer.Option("--max", metavar="N", help="Most things to remove.")
    ] = 1000,
    measure: Annotated[
        bool, typer.Option("--measure", help="Ask the Engine what really became free.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing.")] = False,
) -> Cleanup:
    """Remove what nobody needs: containers, images, networks, volumes, build cache."""
    cache = {"unused_for": cache_unused_for, "keep_bytes": cache_keep}
    return Cleanup.model_validate(
        {
            "containers": containers,
            "images": "unused" if unused_images else "dangling" if images else "no",
            "keep_last": keep_last,
            "unused_for": unused_for,
            "networks": networks,
            "volumes": volumes,
            "volume_names": volume_name or [],
            "build_cache": cache if build_cache else None,
            "labels": labels(label or ()),
            "keep": keep or [],
            "older_than": older_than,
            "when_disk_over": when_disk_over,
            "until_disk_under": until_disk_under,
            "max": at_most,
            "measure": measure,
            "dry_run": dry_run,
            **({"states": state} if state else {}),
        }
    )
