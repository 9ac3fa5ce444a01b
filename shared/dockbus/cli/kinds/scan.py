"""`dockbus scan`: the options of a scan job."""

from __future__ import annotations

from typing import Annotated

import typer

from dockbus.cli.options import Image
from dockbus.cli.submit import submits
from dockbus.jobs import Scan, Severity


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
