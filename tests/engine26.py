"""Run the tests with Docker Engine 26.1: `python tests/engine26.py`, and what follows goes to pytest.

All of it, pytest and Engine, runs in a network namespace of its own, so that this Engine does not take
`docker0` from the machine's and yet shares its loopback with the tests. There is no other network in there:
what the tests fetch from Debian is fetched before; the few that fetch anything else are skipped.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

import debian
import trixie
from dockbus.errors import DockbusError, MissingTool
from dockbus.local import apt, private_engine
from network import own_network

INSTALLED = {"ip": "iproute2", "runc": "runc", "iptables": "iptables", "busybox": "busybox-static"}
"""Debian's packages of programs that it takes, which are installed where they are missing."""
_UNPACKED = {"usr/bin/docker-registry": "docker-registry", "usr/bin/promtool": "prometheus"}


def main(arguments: list[str]) -> int:
    """Returns pytest's exit code."""
    with tempfile.TemporaryDirectory(prefix="dkb-") as scratch:
        try:
            with engine(Path(scratch), print) as address:
                os.environ["DOCKBUS_ENGINE_HOST"] = address
                return pytest.main(arguments)
        except DockbusError as error:
            print(error, file=sys.stderr)
            return 1


@contextmanager
def engine(scratch: Path, say: Callable[[str], None]) -> Generator[str]:
    """The address of an Engine 26.1; to the end of the block this thread is on its network, and has its programs on PATH.

    Raises:
        MissingTool: this is no Debian, this is not root, or Debian's mirror does not answer.
        StartFailed: the Engine did not start.
    """
    programs = _fetched(scratch, say)
    with pytest.MonkeyPatch.context() as environment, own_network():
        environment.setenv("PATH", os.pathsep.join([*programs, os.environ["PATH"]]))
        with private_engine(scratch / "engine26", say) as address:
            yield address


def _fetched(scratch: Path, say: Callable[[str], None]) -> list[str]:
    """Everything that the tests will want; returns the folders that PATH begins with."""
    if os.geteuid() != 0:
        raise MissingTool("Docker Engine 26.1 is started on a network of its own, which takes root")
    for name, package in INSTALLED.items():
        if not shutil.which(name):
            apt.install(package, scratch, say)
    unpacked = [debian.program(name, path, scratch, say) for path, name in _UNPACKED.items()]
    return [str(trixie.programs(say)), *(str(Path(path).parent) for path in unpacked)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
