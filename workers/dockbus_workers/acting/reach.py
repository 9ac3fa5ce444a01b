"""What a container can reach of its machine, as the run job that would have made it: so one policy judges both."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from dockbus.engine import Raw
from dockbus.jobs import Run

_NAMESPACES = {
    "pid_mode": "PidMode",
    "ipc_mode": "IpcMode",
    "uts_mode": "UTSMode",
    "userns_mode": "UsernsMode",
}
_UNCONFINED = re.compile(r"(seccomp|apparmor)[:=]unconfined")


def as_run(raw: Raw) -> Run | None:
    """What of a run job's spec bears on that, read off the Engine's own description; None where it fits in none."""
    host: Raw = raw["HostConfig"]
    options: list[str] = host.get("SecurityOpt") or []
    fields: dict[str, Any] = {
        "image": raw["Image"],
        "privileged": host["Privileged"],
        "cap_add": [name.removeprefix("CAP_") for name in host.get("CapAdd") or ()],
        "networks": host["NetworkMode"],
        "volumes": [_bind(mount) for mount in raw["Mounts"] if mount["Type"] == "bind"],
        "devices": [
            {"host": device["PathOnHost"], "container": device["PathInContainer"]}
            for device in host.get("Devices") or ()
        ],
    }
    fields |= {field: "host" for field, name in _NAMESPACES.items() if host.get(name) == "host"}
    fields |= {
        found[1]: "unconfined" for option in options if (found := _UNCONFINED.fullmatch(option))
    }
    with suppress(ValidationError):
        return Run.model_validate(fields)
    return None


def _bind(mount: Raw) -> dict[str, Any]:
    return {
        "type": "bind",
        "source": mount["Source"],
        "target": mount["Destination"],
        "read_only": not mount["RW"],
        "propagation": mount.get("Propagation") or None,
    }
