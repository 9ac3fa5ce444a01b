"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from pydantic import JsonValue
from pydantic_core import from_json

from dockbus.units import parse_span

JSON = "dockbus.json"
"""Where the invocation remembers that `--json` was given, so that errors are JSON too."""


def seconds(value: str | float) -> float:
    """Seconds from `90`, `90s` or `1h30m`, or from the option's default."""
    text = str(value)
    try:
        return float(text) if text.replace(".", "", 1).isdecimal() else float(str(parse_span(text)))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """A mapping from texts such as `KEY=VALUE`.

    Raises:
        BadParameter: one has no `=`.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=option)
        found[name] = value
    return found


def json_or_text(text: str) -> JsonValue:
    """What a text says as JSON where it is JSON, else the text itself."""
    try:
        value: JsonValue = from_json(text, allow_inf_nan=False)
    except ValueError:
        return text
    return value


def labels(texts: Iterable[str]) -> dict[str, str]:
    """Labels from `KEY=VALUE` or `KEY`, which has an empty value."""
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def _remember(ctx: typer.Context, value: Any) -> Any:  # noqa: ANN401  typer's own signature
    ctx.meta[JSON] = bool(value)
    return value


Json = Annotated[
    bool,
    typer.Option(
        "--json",
        callback=_remember,
        help="Print JSON on stdout; an error is a JSON object (code, title, detail, advice) on stderr.",
    ),
]
JobArgument = Annotated[str, typer.Argument(metavar="ID", help="The job's ID.")]
Image = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE", help="Such as python:3.13-slim or registry.example/team/app@sha256:…"
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", "-l", metavar="KEY[=VALUE]", help="A label; may be repeated."),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on as things happen.")]
