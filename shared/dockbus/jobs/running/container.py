"""A container, described: what it is made from, what it is given, and how it is bounded.

The one description that both sides use: a run job is one, and the Engine client makes containers of it.
Nothing here knows the Engine's own words; `dockbus.engine.bodies` turns it into them.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Self, cast

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from dockbus.jobs.base import SpecModel
from dockbus.jobs.running.health import Healthcheck
from dockbus.jobs.running.isolation import Isolation
from dockbus.jobs.running.limits import Limits
from dockbus.jobs.running.mounts import Mounts
from dockbus.jobs.running.networks import OWN_NETWORK, Network, Networks
from dockbus.jobs.running.parts import ContainerPath, Variable, Word
from dockbus.jobs.running.ports import Ports
from dockbus.references import ImageOrId
from dockbus.units import Seconds

ContainerName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}$")]
PLATFORM = r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$"


def _env(value: object) -> object:
    """A mapping of variables, of a list of `NAME=VALUE`."""
    if not isinstance(value, list):
        return value
    found: dict[str, str] = {}
    for item in cast("list[object]", value):
        name, sign, text = item.partition("=") if isinstance(item, str) else ("", "", "")
        if not sign:
            raise ValueError(f"{item!r} is not NAME=VALUE")
        found[name] = text
    return found


def _host_name(text: str) -> str:
    labels = text.split(".")
    if len(text) > 253 or not all(
        0 < len(label) < 64 and label.replace("-", "a").replace("_", "a").isalnum()
        for label in labels
    ):
        raise ValueError(f"{text!r} is not a host name")
    return text


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None


HostName = Annotated[str, AfterValidator(_host_name)]
Environment = Annotated[
    dict[Variable, Word],
    BeforeValidator(_env, json_schema_input_type=dict[str, str] | list[str]),
]
"""Environment variables, as a mapping or a list of `NAME=VALUE`."""
UserName = Annotated[str, Field(pattern=r"^[^\s:]+(:[^\s:]+)?$", max_length=255)]
"""A user, or `user:group`, by name or number."""
Signal = Annotated[str, Field(pattern=r"^((SIG)?[A-Z][A-Z0-9+-]*|[1-9]\d?)$")]
"""A signal, by name or number."""


class Program(SpecModel):
    """What the container runs, and what that finds around it."""

    name: ContainerName | None = None
    """Name of the container. Default: one that follows from the job's ID."""
    image: ImageOrId
    """Image to run."""
    command: list[Word] | None = None
    """Program and arguments. Default: the image's own."""
    entrypoint: list[Word] | None = None
    """Replaces the image's entry point."""
    env: Environment = {}
    """Environment variables. They can be read by whoever may inspect containers: no place for secrets."""
    working_dir: ContainerPath | None = None
    """Folder the program starts in."""
    user: UserName | None = None
    """User, or `uid:gid`, the program runs as. Default: the image's own."""
    group_add: list[Annotated[str, Field(pattern=r"^[^\s:]+$", max_length=255)]] = []
    """Further groups of that user, by name or number."""
    hostname: HostName | None = None
    """Host name that it sees. Default: its short ID."""
    domainname: HostName | None = None
    """Domain that it sees."""
    networks: Networks = [Network(name=OWN_NETWORK)]
    """Networks it is on. Default: `dockbus`, where containers reach the world but not each other."""
    ports: Ports = []
    """Ports of it that the Engine's machine answers for, such as `8080:80`; on loopback unless an address is given."""
    dns: list[Annotated[str, AfterValidator(_address)]] = Field(default=[], max_length=16)
    """Name servers. Default: the Engine's."""
    dns_search: list[HostName] = Field(default=[], max_length=16)
    """Domains that short names are looked for in."""
    extra_hosts: dict[HostName, Annotated[str, AfterValidator(_address)]] = {}
    """Lines for its `/etc/hosts`: name and address."""
    volumes: Mounts = []
    """Volumes, folders of the machine and memory it finds at its paths, such as `data:/var/lib/data:ro`."""
    healthcheck: Healthcheck | None = None
    """How to find out whether it is well. Default: as the image says."""
    restart: Annotated[
        str, Field(pattern=r"^(no|always|unless-stopped|on-failure(:[1-9]\d{0,5})?)$")
    ] = "no"
    """Whether the Engine starts it again when it ends: `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:5`."""
    stop_signal: Signal | None = None
    """Signal that asks it to stop. Default: the image's, or SIGTERM."""
    stop_timeout: Seconds = Field(default=10.0, ge=0, le=3600)
    """Seconds between the stop signal and the kill."""
    log_driver: Literal["json-file", "local", "journald"] = "json-file"
    """Where the Engine keeps its output; the job reads it from there."""
    log_options: dict[str, str] = {}
    """Options of the log driver, beside `max-size` of 10 MB and `max-file` of 3, which files have by default."""
    labels: dict[str, str] = {}
    """Labels for the container, beside dockbus' own."""
    platform: str | None = Field(default=None, pattern=PLATFORM, examples=["linux/arm64"])
    """Platform of the image, such as `linux/arm64`. Default: the Engine's own."""


class ContainerSpec(
    Isolation, Limits, Program
):  # fields come in the order Program, Limits, Isolation
    """What a container is made from, and how."""

    @model_validator(mode="after")
    def _network_fits(self) -> Self:
        first = self.networks[0].name
        if self.ports and (first in ("none", "host") or first.startswith("container:")):
            raise ValueError(f"ports: there are none to open in network {first!r}")
        return self
