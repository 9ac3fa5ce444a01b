"""`dockbus cleanup`: the options of a cleanup job."""

from __future__ import annotations

from typing import Annotated

import typer

from dockbus.cli.options import Labels, labels, seconds
from dockbus.cli.submit import submits
from dockbus.jobs import Cleanup


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
