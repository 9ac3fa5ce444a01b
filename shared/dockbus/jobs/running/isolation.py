"""How far a container is kept apart from the machine.

By default as far as it goes without breaking ordinary programs: no capabilities, no new privileges, the Engine's
seccomp filter, an init process. Most fields here widen that; they exist so that a policy can refuse them by name.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue

from dockbus.errors import near_miss
from dockbus.jobs.base import SpecModel
from dockbus.jobs.running.parts import ContainerPath, Part, Word, written

CAPABILITIES: list[str] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
]
_DEVICE = re.compile(r"(/[^:]+)(?::(/[^:]+))?(?::([rwm]{1,3}))?")


def _capability(text: object) -> object:
    """Its name in capitals, without `CAP_`."""
    if not isinstance(text, str):
        return text
    name = text.upper().removeprefix("CAP_")
    if name not in ("ALL", *CAPABILITIES):
        raise ValueError(f"there is no capability {text!r}{near_miss(name, CAPABILITIES)}")
    return name


Capability = Annotated[str, BeforeValidator(_capability), Field(examples=["NET_BIND_SERVICE"])]
"""The name of a Linux capability without `CAP_`, or `ALL`."""


class Device(Part):
    """A device of the machine that the container may use."""

    host: ContainerPath
    """Path on the Engine's machine."""
    container: ContainerPath
    """Path in the container."""
    permissions: str = Field(default="rwm", pattern=r"^[rwm]{1,3}$")
    """Any of `r` (read), `w` (write), `m` (make nodes)."""


def parse_device(text: str) -> dict[str, object]:
    """The fields of a device written as `/dev/x`, `/dev/x:/dev/y` or `/dev/x:/dev/y:rw`."""
    match = _DEVICE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a device; write HOST:CONTAINER:rwm")
    return {
        "host": match[1],
        "container": match[2] or match[1],
        **({"permissions": match[3]} if match[3] else {}),
    }


def _sysctl(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]+([./][a-zA-Z0-9_*-]+)+", name):
        raise ValueError(f"{name!r} is not a kernel parameter, such as net.core.somaxconn")
    return name


class Isolation(SpecModel):
    """How far the container is kept apart from the machine."""

    cap_add: list[Capability] = Field(default=[], max_length=64)
    """Capabilities it gets."""
    cap_drop: list[Capability] = Field(default=["ALL"], max_length=64)
    """Capabilities it loses, before those of `cap_add` are given."""
    privileged: bool = False
    """All capabilities, all devices, no confinement: root on the machine."""
    read_only: bool = False
    """It may not write to its own root file system, only to volumes and tmpfs."""
    no_new_privileges: bool = True
    """Its processes cannot gain privileges, as through a setuid program."""
    init: bool = True
    """A small init is process 1: it hands signals on and reaps orphans."""
    seccomp: Literal["default", "unconfined"] | dict[str, JsonValue] = "default"
    """Which system calls are let through: the Engine's own filter, all, or a profile as the Engine takes it."""
    apparmor: str | None = Field(default=None, min_length=1, max_length=255)
    """Name of an AppArmor profile of the machine, or `unconfined`. Default: the Engine's."""
    selinux: list[Annotated[str, Field(pattern=r"^[a-z]+(:.+)?$", max_length=255)]] = []
    """SELinux labels, such as `type:container_t`, or `disable`."""
    devices: list[Annotated[Device, written(parse_device)]] = Field(default=[], max_length=64)
    """Devices of the machine it may use."""
    sysctls: dict[Annotated[str, AfterValidator(_sysctl)], Word] = {}
    """Kernel parameters of its own namespaces."""
    pid_mode: Literal["host"] | None = None
    """`host`: it sees the machine's processes."""
    ipc_mode: Literal["host"] | None = None
    """`host`: it shares the machine's System V and POSIX memory."""
    uts_mode: Literal["host"] | None = None
    """`host`: it shares the machine's host name."""
    userns_mode: Literal["host"] | None = None
    """`host`: its root is the machine's even where the Engine maps users."""
    cgroupns: Literal["private", "host"] | None = None
    """Whether it sees the machine's control groups. Default: the Engine's."""
    cgroup_parent: str | None = Field(default=None, min_length=1, max_length=255)
    """Control group below which it is put."""
    runtime: str | None = Field(default=None, pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$")
    """OCI runtime that carries it out. Default: the Engine's."""
