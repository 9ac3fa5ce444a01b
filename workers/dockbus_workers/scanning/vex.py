"""VEX: what a maker states of vulnerabilities in his product, as an OpenVEX document.

A statement holds for a package where one of its products is that package's URL (purl), or is the image with the
package among the subcomponents (or without any: then for the whole image). Of several the last one holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dockbus.jobs import explain
from dockbus.jobs.scan import Vulnerability
from dockbus.references import split
from dockbus_workers.scanning.errors import VexInvalid


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Component(_Part):
    """A product, or a part of one."""

    id: str = Field(default="", alias="@id")
    identifiers: dict[str, str] = {}
    subcomponents: list[Component] = []

    @property
    def purl(self) -> str:
        """What it is called."""
        return self.identifiers.get("purl") or self.id


class Weakness(_Part):
    """A vulnerability, under all its names."""

    name: str = ""
    aliases: list[str] = []


class Statement(_Part):
    """What is stated of one vulnerability in some products."""

    vulnerability: Weakness
    products: list[Component] = []
    status: Literal["not_affected", "affected", "fixed", "under_investigation"]
    justification: str = ""
    impact_statement: str = ""
    timestamp: str = ""

    @property
    def reason(self) -> str:
        """Why it does not count: the maker's words."""
        words = (self.status, self.justification, self.impact_statement)
        return "; ".join(word for word in words if word)

    def covers(self, found: Vulnerability, images: Sequence[str]) -> bool:
        """Whether it is about this finding in the image with these names."""
        if found.id not in (self.vulnerability.name, *self.vulnerability.aliases):
            return False
        return any(_is_about(product, found.purl, images) for product in self.products)


class Vex(_Part):
    """An OpenVEX document."""

    context: str = Field(alias="@context", pattern=r"^https://openvex\.dev/ns")
    statements: list[Statement]

    def verdict(self, found: Vulnerability, images: Sequence[str]) -> Statement | None:
        """The statement that makes this finding not count, if there is one."""
        said = [statement for statement in self.statements if statement.covers(found, images)]
        said.sort(key=lambda statement: statement.timestamp)  # stable: of equals, the last written
        return said[-1] if said and said[-1].status in ("not_affected", "fixed") else None


def parse(document: object) -> Vex:
    """The document in this decoded JSON.

    Raises:
        VexInvalid: it is none.
    """
    try:
        return Vex.model_validate(document)
    except ValidationError as error:
        raise VexInvalid(explain(error)) from None


@dataclass(frozen=True)
class Purl:
    """A package URL: `pkg:type/namespace/name@version?qualifiers`."""

    path: str
    """Type, namespace and name."""
    version: str
    qualifiers: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Purl | None:
        """The purl in this text, or None."""
        scheme, _, rest = text.partition(":")
        if scheme != "pkg" or "/" not in rest:
            return None
        rest, _, tail = rest.partition("#")[0].partition("?")
        path, _, version = rest.strip("/").partition("@")
        pairs = frozenset(unquote(pair) for pair in tail.split("&") if pair)
        return cls(unquote(path), unquote(version), pairs)

    def matches(self, other: Purl) -> bool:
        """Whether `other` is what this one names; what this one leaves out may be anything."""
        same_version = not self.version or self.version == other.version
        return self.path == other.path and same_version and self.qualifiers <= other.qualifiers


def _is_about(product: Component, package: str, images: Sequence[str]) -> bool:
    if _matches(product.purl, package):
        return True
    if not _names_image(product.purl, images):
        return False
    parts = product.subcomponents
    return not parts or any(_matches(part.purl, package) for part in parts)


def _matches(stated: str, package: str) -> bool:
    wanted, found = Purl.parse(stated), Purl.parse(package)
    return wanted is not None and found is not None and wanted.matches(found)


def _names_image(stated: str, images: Sequence[str]) -> bool:
    """Whether `pkg:oci/NAME@sha256:…?repository_url=…&tag=…` is the image with these names."""
    wanted = Purl.parse(stated)
    if wanted is None or not wanted.path.startswith("oci/"):
        return False
    facts = dict(pair.split("=", 1) for pair in wanted.qualifiers if "=" in pair)
    url, name = facts.get("repository_url"), wanted.path.removeprefix("oci/")
    versions = {
        version
        for repository, version in map(split, images)
        if repository.rpartition("/")[2] == name and url in (None, *_urls(repository))
    }
    return bool(versions) and {wanted.version, facts.get("tag", "")} - {""} <= versions


def _urls(repository: str) -> tuple[str, ...]:
    """What a repository may be called; that of Docker Hub goes by several names."""
    return (
        repository,
        f"docker.io/{repository}",
        f"index.docker.io/{repository}",
        f"docker.io/library/{repository}",
    )
