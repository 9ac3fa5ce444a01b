"""The small vulnerability database of the examples, unpacked as Trivy wants it."""

from __future__ import annotations

import tarfile
from pathlib import Path

ARCHIVE = Path(__file__).parent.parent / "examples" / "trivy-db" / "db.tar.gz"


def unpack(folder: Path) -> Path:
    """Unpack it below `folder`; returns the folder that is Trivy's cache."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder / "db", filter="data")
    return folder
