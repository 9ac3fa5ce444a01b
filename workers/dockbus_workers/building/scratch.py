"""A folder for one build's files, gone afterwards even if the worker was killed.

Its owner holds a lock on it, which the kernel lets go when the process ends in whatever way; whoever makes the next
scratch folder on this machine removes those that nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "dockbus-build-"
_YOUNG = 60.0
"""Seconds for which one may not be locked yet."""


@contextmanager
def scratch_folder() -> Generator[Path]:
    """A new folder that only this user can enter, below the system's folder for temporary files."""
    _sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                stat = os.fstat(lock)
                if stat.st_uid == os.geteuid() and time.time() - stat.st_mtime > _YOUNG:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(folder)
            finally:
                os.close(lock)


def _remove(folder: Path) -> None:
    """Remove it, folders that a context made unreadable included."""
    for path, _, _ in os.walk(folder):
        with suppress(OSError):
            Path(path).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
