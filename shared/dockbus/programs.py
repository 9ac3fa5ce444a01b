"""Where the programs are that dockbus calls: on PATH, or beside this Python, where pip puts them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

_PLUGINS = (
    "~/.docker/cli-plugins",
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)


def find(name: str) -> str | None:
    """The path of a program, given by name or path; None if there is none."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(name, path=f"{path}{os.pathsep}{Path(sys.executable).parent}")


def find_plugin(name: str) -> str | None:
    """The path of a program such as docker-buildx, also where Docker's command line keeps its plugins; None if there is none."""
    places = (Path(folder).expanduser() / name for folder in _PLUGINS)
    return find(name) or next((str(place) for place in places if place.is_file()), None)
