"""How far a job's container is kept apart from the machine and from other containers: what of it breaks a rule."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from dockbus.jobs import Run
from dockbus.jobs.running import OWN_NETWORK
from dockbus.policy.models import Policy
from dockbus.policy.mounts import Broken
from dockbus.policy.names import matches
from dockbus.policy.paths import canonical

DOCKERS_OWN = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
"""The capabilities that Docker gives every container which does not drop them."""
_SYSCTLS = ("net.*", "kernel.msg*", "kernel.shm*", "kernel.sem", "fs.mqueue.*")
_SELINUX = re.compile(r"type:container(_init|_kvm)?_t|level:.*")
_LOG_BOUNDS = {"max-size": 100 * 1024**2, "max-file": 10, "max-buffer-size": 16 * 1024**2}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d+)?) ?([kmgtp])?(?:i?b)?", re.ASCII)
_NUMBER = re.compile(r"0*[1-9]\d*(:\w[\w.-]*)?", re.ASCII)


def check(spec: Run, policy: Policy) -> Iterator[Broken]:
    """What of a job's isolation breaks a rule, at whatever level."""
    yield from _namespaces(spec)
    yield from _networks(spec, policy)
    yield from _capabilities(spec, policy)
    yield from _confinement(spec)
    yield from _kernel(spec, policy)
    yield from _ports(spec)
    yield from _logs(spec)


def _namespaces(spec: Run) -> Iterator[Broken]:
    if spec.privileged:
        yield "privileged", "privileged", "it would be root on the machine"
    for rule, field in (
        ("host-pid", "pid_mode"),
        ("host-ipc", "ipc_mode"),
        ("host-uts", "uts_mode"),
        ("host-users", "userns_mode"),
        ("host-cgroups", "cgroupns"),
    ):
        if getattr(spec, field) == "host":
            yield rule, field, "'host' is the machine's own"


def _networks(spec: Run, policy: Policy) -> Iterator[Broken]:
    for number, network in enumerate(spec.networks):
        name, field = network.name, f"networks.{number}.name"
        # `*` in an allow-list means networks, not the machine's own or that of any container.
        wide = not network.is_mode
        allowed = [
            pattern
            for pattern in policy.allow.networks
            if wide or pattern == name or pattern.startswith("container:")
        ]
        if matches(name, allowed):
            continue
        if name == "host":
            yield "host-network", field, "'host' is the machine's own"
        elif name.startswith("container:"):
            yield "container-network", field, f"{name!r} is not the job's"
        elif name in ("bridge", "default"):
            yield "default-bridge", field, f"{name!r} is everybody's"
        elif name not in (OWN_NETWORK, "none"):
            yield "foreign-network", field, f"{name!r} is not allowed"


def _capabilities(spec: Run, policy: Policy) -> Iterator[Broken]:
    allowed = {"NET_BIND_SERVICE", *policy.allow.capabilities}
    for name in spec.cap_add:
        if "ALL" in allowed or name in allowed:
            continue
        rule = "extra-capability" if name in DOCKERS_OWN else "capability"
        yield rule, "cap_add", f"{name} is not allowed"
    if "ALL" not in spec.cap_drop:
        yield "kept-capabilities", "cap_drop", "ALL is missing"


def _confinement(spec: Run) -> Iterator[Broken]:
    if spec.seccomp == "unconfined":
        yield "seccomp-unconfined", "seccomp", "it would have no filter"
    elif spec.seccomp != "default":
        yield "seccomp-profile", "seccomp", "it is not the Engine's own"
    if "unconfined" in (spec.apparmor or ""):  # `:root:unconfined` is the same
        yield "apparmor-unconfined", "apparmor", "it would have no profile"
    for label in spec.selinux:
        if not _SELINUX.fullmatch(label):
            yield "selinux-label", "selinux", f"{label!r} is not allowed"
    if not spec.no_new_privileges:
        yield "new-privileges", "no_new_privileges", "it is switched off"
    if not (spec.user and _NUMBER.fullmatch(spec.user)):
        yield "root-user", "user", f"{spec.user!r} may be root" if spec.user else "it is missing"
    if not spec.read_only:
        yield "writable-root", "read_only", "it is not set"


def _kernel(spec: Run, policy: Policy) -> Iterator[Broken]:
    for number, device in enumerate(spec.devices):
        if not matches(path := canonical(device.host), policy.allow.devices):
            yield "device", f"devices.{number}.host", f"{path!r} is not allowed"
    for name in spec.sysctls:
        if not matches(name.replace("/", "."), (*_SYSCTLS, *policy.allow.sysctls)):
            yield "sysctl", f"sysctls.{name}", "it is the machine's, or not known to be harmless"
    if spec.runtime and not matches(spec.runtime, policy.allow.runtimes):
        yield "runtime", "runtime", f"{spec.runtime!r} is not allowed"
    if spec.cgroup_parent:
        yield "cgroup-parent", "cgroup_parent", f"{spec.cgroup_parent!r} is not the job's"


def _ports(spec: Run) -> Iterator[Broken]:
    for number, port in enumerate(spec.ports):
        if port.host and port.host < 1024:
            yield "privileged-port", f"ports.{number}.host", f"{port.host} is below 1024"
        if _is_open(port.address):
            yield "open-address", f"ports.{number}.address", f"{port.address} is all of them"
    policy, _, most = spec.restart.partition(":")
    if policy != "no" and not (policy == "on-failure" and 1 <= int(most or 0) <= 5):
        yield "unbounded-restart", "restart", f"{spec.restart!r} may go on for ever"


def _logs(spec: Run) -> Iterator[Broken]:
    for name, most in _LOG_BOUNDS.items():
        text = spec.log_options.get(name, "1")
        size = _SIZE.fullmatch(text.strip().lower())
        if not size or not 0 < float(size[1]) * 1024 ** " kmgtp".index(size[2] or " ") <= most:
            yield "log-options", f"log_options.{name}", f"{text!r} is too much"


def _is_open(address: str) -> bool:
    """Whether whoever listens there listens on all addresses; `::ffff:0.0.0.0` is one more way to say so."""
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_unspecified
