"""`dockbus pull`: the options of a pull job."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from dockbus.cli.options import Image
from dockbus.cli.submit import submits
from dockbus.jobs import Pull


@submits
def pull(
    image: Image,
    platform: Annotated[
        str | None, typer.Option(help="Such as linux/arm64. Default: the Engine's own.")
    ] = None,
    policy: Annotated[
        Literal["always", "if-not-present", "newer"],
        typer.Option(help="When to pull; newer asks the registry for its digest first."),
    ] = "always",
    credentials: Annotated[
        str | None,
        typer.Option(metavar="SECRET", help="Secret with the registry's credentials."),
    ] = None,
) -> Pull:
    """Bring an image from its registry to the Engine."""
    return Pull(image=image, platform=platform, policy=policy, credentials=credentials)
