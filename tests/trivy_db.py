"""The small vulnerability database of the examples, in a folder of the test's own."""

from __future__ import annotations

import shutil
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "examples" / "trivy-db" / "db"


def copy(folder: Path) -> Path:
    """Put it below `folder`; returns the folder that is Trivy's cache."""
    shutil.copytree(SOURCE, folder / "db")
    return folder
