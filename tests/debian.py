"""Programs out of Debian's packages for a test, unpacked into a scratch folder: nothing is installed, no service starts."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from dockbus.errors import MissingTool


def program(package: str, path: str, scratch: Path, say: Callable[[str], None]) -> str:
    """The program at `path` (such as `usr/bin/promtool`) of a package, or the one on PATH.

    Raises:
        MissingTool: it is not on PATH, and this is no Debian or its mirror gives no such package.
    """
    name = Path(path).name
    if found := shutil.which(name):
        return found
    if not shutil.which("apt-get"):
        raise MissingTool(f"there is no program {name!r}; install it")
    say(f"fetching {name} from Debian's package {package}")
    folder = scratch / package
    folder.mkdir(parents=True, exist_ok=True)
    fetch = ["apt-get", "-o", "APT::Sandbox::User=root", "--quiet", "download", package]
    if not _done(fetch, folder) and os.geteuid() == 0:
        _done(["apt-get", "--quiet", "update"], folder)  # a bare machine has no lists yet
        _done(fetch, folder)
    for archive in folder.glob("*.deb"):
        _done(["dpkg", "-x", str(archive), str(folder)], folder)
    if not (folder / path).exists():
        raise MissingTool(f"Debian's package {package} did not give {path}")
    return str(folder / path)


def _done(command: list[str], folder: Path) -> bool:
    return subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode == 0
