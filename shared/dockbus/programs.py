"""Where the programs are that dockbus calls: on PATH, or beside this Python, where pip puts them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def find(name: str) -> str | None:
    """The path of a program, given by name or path; None if there is none."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which(name, path=f"{path}{os.pathsep}{Path(sys.executable).parent}")
