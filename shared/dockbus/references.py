"""Image references: `[registry[:port]/]path[:tag][@digest]`, as the Engine understands them.

Checked before anything reaches the Engine. The grammar is that of the distribution project's
`reference` package; a bare image ID (`sha256:…`) is accepted where an image that exists is meant.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

_HOST = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"[\w][\w.-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_NAME = re.compile(
    rf"(?P<path>(?:(?:{_HOST}(?::\d+)?|\[[0-9a-fA-F:]+\](?::\d+)?)/)?{_PART}(?:/{_PART})*)"
    rf"(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?",
    re.ASCII,
)
_ID = re.compile(rf"{_DIGEST}|[0-9a-f]{{64}}")


def check_name(text: str) -> str:
    """Return `text` if it names an image.

    Raises:
        ValueError: it does not; the message says what an image name looks like.
    """
    match = _NAME.fullmatch(text)
    if not match or len(match["path"]) > 255 or _ID.fullmatch(text):
        raise ValueError(
            f"{text[:80]!r} is not an image reference; write [registry/]name[:tag][@sha256:digest], the name in lower case"
        )
    return text


def check_name_or_id(text: str) -> str:
    """Return `text` if it names an image or is an image ID.

    Raises:
        ValueError: it is neither.
    """
    return text if _ID.fullmatch(text) else check_name(text)


def split(name: str) -> tuple[str, str]:
    """The repository and the tag or digest to pull; the tag is `latest` where none is given."""
    match = _NAME.fullmatch(name)
    if not match:
        raise ValueError(f"{name!r} is not an image reference")
    return match["path"], match["digest"] or match["tag"] or "latest"


ImageName = Annotated[str, AfterValidator(check_name), Field(examples=["python:3.13-slim"])]
"""A reference that can be pulled or given to a new image."""

ImageOrId = Annotated[str, AfterValidator(check_name_or_id), Field(examples=["python:3.13-slim"])]
"""A reference, or the ID of an image that the Engine has."""
