"""A network of a test's own: nothing is in it but a loopback, and nobody else on the machine sees it."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_NEWNET = 0x40000000
"""CLONE_NEWNET of sched.h."""
_LIBC = ctypes.CDLL(None, use_errno=True)  # `os` has these calls from Python 3.12 on


@contextmanager
def own_network() -> Generator[None]:
    """To the end of the block this thread, and every process that it starts, is on a network of its own; takes root."""
    with Path("/proc/thread-self/ns/net").open() as before:
        _done(_LIBC.unshare(_NEWNET))
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            _done(_LIBC.setns(before.fileno(), _NEWNET))


def _done(code: int) -> None:
    if code:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
