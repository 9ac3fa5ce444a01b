"""`dockbus pull`: the options of a pull job."""

from __future__ import annotations

from typing import Annotated

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
) -> Pull:
    """Bring an image from its registry to the Engine."""
    return Pull(image=image, platform=platform)
