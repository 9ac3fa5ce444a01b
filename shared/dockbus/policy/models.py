"""A policy: what jobs may ask of an Engine, as whoever runs the worker has written it down; and what breaks it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from dockbus.errors import near_miss
from dockbus.jobs.base import Kind, Queue, ResultModel
from dockbus.jobs.running.isolation import Capability
from dockbus.jobs.running.parts import Part
from dockbus.policy.paths import canonical
from dockbus.policy.rules import LEVELS, RULES, Rule
from dockbus.settings import PolicyLevel
from dockbus.units import Bytes


def _path(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise ValueError(f"{text!r} is not an absolute path")
    return canonical(text)


def _rule(name: str) -> str:
    if name not in RULES:
        raise ValueError(f"there is no rule {name!r}{near_miss(name, list(RULES))}")
    if RULES[name].level == "privileged":
        raise ValueError(f"rule {name!r} cannot be switched off")
    return name


def _image(pattern: str) -> str:
    host, slash, _ = pattern.partition("/")
    if not slash or not (set(host) & set(".:*") or host == "localhost"):
        raise ValueError(
            f"{pattern!r} names no registry; write docker.io/library/NAME, registry.example/* or the like"
        )
    return pattern


def _action(name: str) -> str:
    if name not in _ACTIONS:
        raise ValueError(f"there is no action {name!r}{near_miss(name, _ACTIONS)}")
    return name


_ACTIONS = [kind.value for kind in Kind if kind.queue is Queue.CONTAINER]
Glob = Annotated[str, Field(min_length=1)]
"""A name in which `*` and `?` stand for anything."""


class BindMount(Part):
    """A path of the machine that jobs may mount, with all below it."""

    path: Annotated[str, AfterValidator(_path)]
    """The path. Sensitive ones below it stay refused unless they are named themselves."""
    read_only: bool = True
    """Only with `read_only`; false lets jobs write there."""


class Allow(Part):
    """What is let through although a rule refuses it."""

    bind_mounts: list[BindMount] = []
    """Paths of the machine."""
    devices: list[Glob] = []
    """Devices, such as `/dev/dri/*`."""
    capabilities: list[Capability] = []
    """Capabilities that may be added."""
    networks: list[Glob] = []
    """Networks, `host`, `bridge` and `container:ID` among them."""
    sysctls: list[Glob] = []
    """Kernel parameters, such as `kernel.msgmax`."""
    volume_drivers: list[Glob] = []
    """Volume drivers, with any options."""
    runtimes: list[Glob] = []
    """OCI runtimes."""
    rules: list[Annotated[str, AfterValidator(_rule)]] = []
    """Rules to switch off."""


class Images(Part):
    """Which images may be used. That goes by their names: whoever may build can give an image any name."""

    only: list[Annotated[Glob, AfterValidator(_image)]] = []
    """Images to allow, with their registry, such as `registry.example/*`. Empty: all."""
    digest: bool = False
    """Only images that are named by their digest."""


class Limits(Part):
    """The most that one job may ask for."""

    memory: Annotated[Bytes, Field(gt=0)] | None = None
    """Bytes of memory and swap, or as `4g`."""
    cpus: Annotated[float, Field(gt=0)] | None = None
    """CPUs; a job then has to say how many it may use."""


class Actions(Part):
    """What may be done to containers that are there."""

    only_labelled: dict[str, str] = {}
    """Labels that a container must carry to be acted on; an empty value stands for any."""
    forbid: list[Annotated[str, AfterValidator(_action)]] = []
    """Actions that no job may do: of `restart`, `stop`, `start`, `remove` and `exec`."""


class Policy(Part):
    """What jobs may ask of an Engine."""

    level: PolicyLevel = "baseline"
    """`privileged` (nearly everything), `baseline` (what does not reach the machine) or `restricted` (least)."""
    allow: Allow = Allow()
    """Exceptions."""
    images: Images = Images()
    """Which images may be used."""
    limits: Limits = Limits()
    """The most that one job may ask for."""
    actions: Actions = Actions()
    """What may be done to containers that are there."""

    def holds(self, rule: Rule) -> bool:
        """Whether a rule is in force."""
        return LEVELS.index(rule.level) <= LEVELS.index(self.level) and (
            rule.id not in self.allow.rules
        )


class Violation(ResultModel):
    """One field of a job that breaks one rule."""

    rule: str
    """Name of the rule."""
    field: str
    """Where in the spec, such as `volumes.0.source`."""
    what: str
    """What is wrong there."""
    remedy: str
    """What to do about it."""
    cis: str = ""
    """Number of the recommendation of the CIS Docker Benchmark 1.6; empty where it has none."""

    def __str__(self) -> str:
        cis = f" (CIS {self.cis})" if self.cis else ""
        return f"rule {self.rule}{cis}: {self.field}: {self.what}; {self.remedy}"
