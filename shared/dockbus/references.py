"""Image references: `[registry[:port]/]path[:tag][@digest]`, as the Engine understands them.

Checked before anything reaches the Engine. The grammar is that of the distribution project's
`reference` package; a bare image ID (`sha256:…`) is accepted where an image that exists is meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Self

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
HUB = "docker.io"
"""The registry of names that name none."""


@dataclass(frozen=True)
class Reference:
    """A name taken apart. Two names of one thing, such as `busybox` and `docker.io/library/busybox:latest`, are equal."""

    host: str
    """The registry, `docker.io` where the name has none."""
    path: str
    """The repository in it, such as `library/busybox`."""
    tag: str
    """Empty where there is a digest, which makes a tag mean nothing."""
    digest: str
    """`sha256:…`, or empty."""

    @classmethod
    def parse(cls, name: str) -> Self:
        """Take a name apart.

        Raises:
            ValueError: it is no name of an image.
        """
        repository, version = split(name)
        host, slash, path = repository.partition("/")
        if not slash or not (re.search(r"[.:A-Z]", host) or host == "localhost"):
            host, path = HUB, repository
        if host in (HUB, f"index.{HUB}"):
            host, path = HUB, path if "/" in path else f"library/{path}"
        is_digest = version.startswith("sha256:")
        return cls(host, path, "" if is_digest else version, version if is_digest else "")

    @property
    def repository(self) -> str:
        """The name without tag and digest, as the Engine shows it: `busybox`, `registry.example/app`."""
        if self.host == HUB:
            return self.path.removeprefix("library/")
        return f"{self.host}/{self.path}"

    @property
    def name(self) -> str:
        """The whole name, as the Engine shows it; the same for all names of one thing."""
        return (
            f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"
        )

    def at(self, mirror: str) -> Self:
        """What this is called at a mirror, `HOST[:PORT][/PATH]`."""
        host, _, prefix = mirror.partition("/")
        return type(self)(host, f"{prefix}/{self.path}".lstrip("/"), self.tag, self.digest)


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


def is_id(text: str) -> bool:
    """Whether that is the ID of an image, which no registry knows."""
    return bool(_ID.fullmatch(text))


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
