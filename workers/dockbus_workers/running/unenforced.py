"""Which options of a job an Engine takes without a word and does not enforce."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from dockbus.jobs import Run


def not_enforced(spec: Run, guards: AbstractSet[str]) -> list[str]:
    """The fields of a spec that have no effect on an Engine with only these `guards` (see `Engine.guards`)."""
    asked = {
        "apparmor": ("apparmor", spec.apparmor),
        "selinux": ("selinux", spec.selinux),
        "seccomp": ("seccomp", spec.seccomp != "unconfined"),
        "memory": ("memory", spec.memory),
        "memory_swap": (
            "swap",
            spec.memory and spec.memory_swap != spec.memory and spec.memory_swap,
        ),
        "cpus": ("cpus", spec.cpus or spec.cpu_quota),
        "cpu_shares": ("cpu_shares", spec.cpu_shares),
        "cpuset": ("cpuset", spec.cpuset),
        "pids": ("pids", spec.pids),
    }
    return [field for field, (guard, given) in asked.items() if given and guard not in guards]
