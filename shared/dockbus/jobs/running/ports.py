"""Ports of a container that the machine answers for.

Without an address a port is open on the loopback of the Engine's machine only. That is the other way round
than Docker's own, which opens it to the world and past most firewalls: write `0.0.0.0:8080:80` for that.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dockbus.jobs.running.parts import Part, written

_WRITTEN = re.compile(
    r"(?:(?:(?P<address>\[[0-9a-fA-F:.]+\]|[^:\[\]]*):)?(?P<host>\d*):)?(?P<container>\d+)(?:/(?P<protocol>\w+))?"
)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address of the Engine's machine") from None


class Port(Part):
    """One port of the container, and where the Engine's machine answers for it."""

    container: int = Field(ge=1, le=65535)
    """Port in the container."""
    host: int | None = Field(default=None, ge=1, le=65535)
    """Port of the machine. Default: a free one, which the result names."""
    address: Annotated[str, AfterValidator(_address)] = "127.0.0.1"
    """Address of the machine to listen on; `0.0.0.0` is all of them."""
    protocol: Literal["tcp", "udp", "sctp"] = "tcp"


def parse_port(text: str) -> dict[str, object]:
    """The fields of a port written as `80`, `8080:80` or `127.0.0.1:8080:80/udp`."""
    match = _WRITTEN.fullmatch(text)
    if not match:
        raise ValueError(
            f"{text!r} is not a port; write CONTAINER, HOST:CONTAINER or ADDRESS:HOST:CONTAINER,"
            " with /udp at the end where it is meant"
        )
    found: dict[str, object] = {"container": int(match["container"])}
    if match["host"]:
        found["host"] = int(match["host"])
    if match["address"]:
        found["address"] = match["address"].strip("[]")
    if match["protocol"]:
        found["protocol"] = match["protocol"].lower()
    return found


def check_ports(ports: list[Port]) -> list[Port]:
    """The ports, where none is asked for twice.

    Raises:
        ValueError: one is.
    """
    seen: set[tuple[object, ...]] = set()
    for port in ports:
        place = (port.address, port.host or -port.container, port.protocol)
        if place in seen:
            raise ValueError(
                f"port {port.host or port.container}/{port.protocol} of {port.address} is there twice"
            )
        seen.add(place)
    return ports


Ports = Annotated[
    list[Annotated[Port, written(parse_port)]], AfterValidator(check_ports), Field(max_length=128)
]
