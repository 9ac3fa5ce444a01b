"""The networks that a container is on.

By default that is one of dockbus' own: containers on it reach the world, but not each other. Beside the names
of networks there are four words of the Engine's (`none`, `bridge`, `host`, `container:ID`), which stand alone.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from dockbus.jobs.running.parts import Part, written

OWN_NETWORK = "dockbus"
"""The network that containers are on unless they name another."""
_NAME = re.compile(r"(?:container:)?[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}", re.ASCII)
_ALIAS = re.compile(r"[a-zA-Z0-9_](?:[a-zA-Z0-9_.-]{0,252}[a-zA-Z0-9_])?", re.ASCII)


def _alias(text: str) -> str:
    if not _ALIAS.fullmatch(text):
        raise ValueError(f"{text!r} cannot be a name in a network")
    return text


def _ipv4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not an IPv4 address") from None


class Network(Part):
    """A network that the container joins."""

    name: str
    """Its name, or alone: `none`, `bridge` (Docker's default one), `host` (the machine's), `container:ID` (that container's)."""
    aliases: list[Annotated[str, AfterValidator(_alias)]] = Field(default=[], max_length=64)
    """Names under which containers of this network find this one."""
    ipv4: Annotated[str, AfterValidator(_ipv4)] | None = None
    """Its address there; only in networks whose address range somebody has chosen."""

    @property
    def is_mode(self) -> bool:
        """Whether it is a word of the Engine's and no network that somebody has made."""
        return self.name in ("none", "bridge", "host") or self.name.startswith("container:")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not the name of a network")
        if self.is_mode and (self.aliases or self.ipv4):
            raise ValueError(f"a container can choose no names and no address in {self.name!r}")
        return self


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


def check_networks(networks: list[Network]) -> list[Network]:
    """The networks, each there once, and the Engine's words alone.

    Raises:
        ValueError: it is otherwise.
    """
    names = [network.name for network in networks]
    if len(set(names)) < len(names):
        raise ValueError("a network is there twice")
    if len(names) > 1 and (modes := [network.name for network in networks if network.is_mode]):
        raise ValueError(f"{modes[0]!r} goes with no other network")
    return networks


Networks = Annotated[
    list[Annotated[Network, written(lambda text: {"name": text})]],
    BeforeValidator(_several, json_schema_input_type=list[Network | str] | str),
    AfterValidator(check_networks),
    Field(min_length=1, max_length=32),
]
