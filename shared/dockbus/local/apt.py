"""Debian's packages, for a machine that lacks a program and is ours to change."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from dockbus.errors import MissingTool


def can_install() -> bool:
    """Whether this is root on Debian or one of its children."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(package: str, scratch: Path, say: Callable[[str], None]) -> None:
    """Install a package; apt's own words go to `apt.log` in `scratch`.

    Raises:
        MissingTool: it cannot be installed here, or apt could not do it.
    """
    if not can_install():
        raise MissingTool(
            f"install the package {package!r} (it could be done here as root on Debian or Ubuntu)"
        )
    say(f"installing Debian's package {package}")
    scratch.mkdir(parents=True, exist_ok=True)
    log = scratch / "apt.log"
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "--yes"]
    with log.open("ab") as output:
        for step in (["update"], ["install", "--no-install-recommends", package]):
            done = subprocess.run(
                [*apt, *step],
                check=False,
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            if done.returncode:
                raise MissingTool(f"`apt-get {step[0]}` for {package!r} failed; {log} says why")
