"""Where a build's context comes from: a folder of the worker, an uploaded archive, or a Git repository.

What a URL may look like is decided here, before a job is on the bus; what it may reach is the worker's to say.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from dockbus.blobs import Digest
from dockbus.jobs.base import SecretName, SpecModel

SCHEMES = ("https", "ssh", "file")
_HOST = re.compile(r"(?:[\w.~-]+@)?(?:[A-Za-z0-9][\w.-]*|\[[0-9a-fA-F:]+\])(?::\d+)?", re.ASCII)


def check_url(url: str) -> str:
    """Return a URL that Git may be given.

    Raises:
        ValueError: it is none; the message begins with the name of the rule that it breaks.
    """
    scheme, sign, _ = url.partition("://")
    if not sign or scheme not in SCHEMES:
        raise ValueError(
            f"rule context/git-scheme: {url[:80]!r} must begin with https://, ssh:// or file://"
        )
    if re.search(r"[\x00-\x20\x7f\\]", url):
        raise ValueError(f"rule context/git-url: {url[:80]!r} has characters that no URL has")
    parts = urlsplit(url)
    if ":" in parts.netloc.rpartition("@")[0]:
        raise ValueError(
            "rule context/git-password: a URL with a password; keep it as a secret and name that in `credentials`"
        )
    if bool(parts.netloc) == (scheme == "file") or (
        parts.netloc and not _HOST.fullmatch(parts.netloc)
    ):
        raise ValueError(f"rule context/git-url: {url[:80]!r} has no proper host")
    if not parts.path.strip("/") or parts.path.lstrip("/").startswith("-"):
        raise ValueError(f"rule context/git-url: {url[:80]!r} names no repository")
    return url


def check_ref(ref: str) -> str:
    """Return a name that Git may be given for a branch, a tag or a commit.

    Raises:
        ValueError: it is none; the message begins with the name of the rule that it breaks.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][\w./+@#=-]*", ref, re.ASCII) or re.search(
        r"\.\.|//|@\{|\.lock(/|$)|[./]$", ref
    ):
        raise ValueError(
            f"rule context/git-ref: {ref[:80]!r} cannot be the name of a branch, tag or commit"
        )
    return ref


class Upload(SpecModel):
    """A context that was put on the bus beforehand."""

    blob: Digest
    """What `Bus.upload` or `POST /v1/blobs` gave for a tar archive, compressed with gzip or not, whose root is the
    context."""


class Repository(SpecModel):
    """A context that the worker fetches: one commit of a Git repository, without its history and submodules."""

    git: Annotated[str, AfterValidator(check_url), Field(examples=["https://example.com/shop.git"])]
    """URL of the repository: `https://`, `ssh://`, or `file://` for one under the worker's build root. No password."""
    ref: Annotated[str, AfterValidator(check_ref), Field(examples=["main", "v1.2"])] = "HEAD"
    """Branch, tag or full commit ID."""
    folder: str = Field(default=".", min_length=1, examples=["app"])
    """The folder of the repository that is the context."""
    credentials: SecretName | None = None
    """Secret with `user:password` or a token, for `https://`."""

    @model_validator(mode="after")
    def _credentials_need_https(self) -> Repository:
        if self.credentials and not self.git.startswith("https://"):
            raise ValueError(
                "`credentials` are for https:// only; over ssh:// the worker's own keys hold"
            )
        return self


def _source(value: object) -> str:
    """Which of the three it is; what is none of them gets the error of an upload."""
    if isinstance(value, str):
        return "folder"
    is_git = "git" in value if isinstance(value, dict) else isinstance(value, Repository)
    return "git" if is_git else "blob"


Context = Annotated[
    Annotated[str, Field(min_length=1, examples=["examples/hello"]), Tag("folder")]
    | Annotated[Upload, Tag("blob")]
    | Annotated[Repository, Tag("git")],
    Discriminator(_source),
]
"""Where everything is that a build may copy."""
