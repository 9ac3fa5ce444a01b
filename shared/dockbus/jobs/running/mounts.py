"""What a container finds at a path that is not its own: a volume, a folder of the machine, or memory.

All three are said in one form, since a volume with the right options of its driver is a folder of the
machine in disguise: whoever decides what a job may mount has to see both.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from dockbus.jobs.running.parts import ContainerPath, Mode, Part, as_path, written
from dockbus.units import Bytes

Propagation = Literal["private", "rprivate", "slave", "rslave", "shared", "rshared"]
SECRETS = "/run/secrets"
"""Where a container finds the secrets that its job names."""
VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}", re.ASCII)
_PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")


class Mount(Part):
    """A volume, a folder or file of the Engine's machine (bind), or memory (tmpfs) at a path of the container."""

    type: Literal["volume", "bind", "tmpfs"] = "volume"
    source: str | None = Field(default=None, min_length=1, max_length=4096)
    """Name of the volume, which is made where it is not there, or path of the Engine's machine, which must be there.
    A volume without one is new, and goes with the container."""
    target: ContainerPath
    """Path in the container."""
    read_only: bool = False
    """The container may not write there."""
    propagation: Propagation | None = None
    """Of a bind: whether mounts below it are passed on. Default: `rprivate`, they are not."""
    size: Bytes | None = Field(default=None, ge=1, le=2**63 - 1)
    """Of a tmpfs: most bytes it may hold. What it holds counts as the container's memory."""
    mode: Mode | None = None
    """Of a tmpfs: its permissions, such as `1777`, the default."""
    driver: str | None = Field(default=None, min_length=1, max_length=255)
    """Of a volume that is new: its driver. Default: `local`."""
    driver_opts: dict[str, str] = {}
    """Of a volume that is new: options of its driver. With `local` they can make it a folder of the machine."""

    @field_validator("source")
    @classmethod
    def _shortest(cls, source: str | None, info: ValidationInfo) -> str | None:
        return as_path(source) if source and info.data.get("type") == "bind" else source

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.target == "/":
            raise ValueError("nothing can be mounted over '/'")
        if self.type == "bind":
            if self.source is None:
                raise ValueError("a bind has a source: a path of the Engine's machine")
        elif self.type == "tmpfs" and self.source:
            raise ValueError("a tmpfs has no source")
        elif self.source and not VOLUME_NAME.fullmatch(self.source):
            raise ValueError(f"{self.source!r} is not the name of a volume")
        for field, owner in (
            ("propagation", "bind"),
            ("size", "tmpfs"),
            ("mode", "tmpfs"),
            ("driver", "volume"),
            ("driver_opts", "volume"),
        ):
            if getattr(self, field) not in (None, {}) and self.type != owner:
                raise ValueError(f"{field} is for a {owner}, not for a {self.type}")
        return self


def parse_mount(text: str) -> dict[str, object]:
    """The fields of a mount written as `SOURCE:TARGET[:OPTIONS]` or `TARGET`; a source with a `/` is a path."""
    source, *rest = text.split(":")
    if not rest:
        return {"target": source}
    target, *options = rest
    if len(options) > 1:
        raise ValueError(f"{text!r} is not a volume; write SOURCE:TARGET or SOURCE:TARGET:ro")
    found: dict[str, object] = {
        "type": "bind" if source.startswith("/") else "volume",
        "source": source,
        "target": target,
    }
    for option in options[0].split(",") if options else ():
        if option in ("ro", "rw"):
            found["read_only"] = option == "ro"
        elif option in _PROPAGATIONS:
            found["propagation"] = option
        else:
            raise ValueError(
                f"{option!r} is no option of a volume; there are ro, rw, {', '.join(_PROPAGATIONS)}"
            )
    return found


def parse_tmpfs(text: str) -> dict[str, object]:
    """The fields of a tmpfs written as `TARGET[:size=64m,mode=1777,ro]`."""
    target, _, options = text.partition(":")
    found: dict[str, object] = {"type": "tmpfs", "target": target}
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        if name in ("ro", "rw"):
            found["read_only"] = name == "ro"
        elif name in ("size", "mode") and value:
            found[name] = value
        else:
            raise ValueError(f"{option!r} is no option of a tmpfs; there are size=, mode= and ro")
    return found


def check_mounts(mounts: list[Mount]) -> list[Mount]:
    """The mounts, where no two are at one path.

    Raises:
        ValueError: two are.
    """
    seen: set[str] = set()
    for mount in mounts:
        if mount.target in seen:
            raise ValueError(f"there are two mounts at {mount.target}")
        seen.add(mount.target)
    return mounts


Mounts = Annotated[
    list[Annotated[Mount, written(parse_mount)]],
    AfterValidator(check_mounts),
    Field(max_length=64),
]
