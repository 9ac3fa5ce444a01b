"""Run the tests with Docker Engine 26.1: `python tests/engine26.py`, and what follows goes to pytest.

All of it, pytest and Engine, runs in a network namespace of its own, so that this Engine does not take
`docker0` from the machine's and yet shares its loopback with the tests. There is no other network in there:
what the tests fetch from Debian is fetched before; the few that fetch anything else are skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import debian
import trixie
from dockbus.errors import DockbusError, MissingTool
from dockbus.local import apt, private_engine

_INSTALLED = {"runc": "runc", "iptables": "iptables", "busybox": "busybox-static"}
_UNPACKED = {"usr/bin/docker-registry": "docker-registry", "usr/bin/promtool": "prometheus"}
_INSIDE = "TESTS_ENGINE26"
"""Set in the namespace: the folder for the Engine."""


def main(arguments: list[str]) -> int:
    """Returns pytest's exit code."""
    if folder := os.environ.get(_INSIDE):
        return _inside(Path(folder), arguments)
    with tempfile.TemporaryDirectory(prefix="dkb-") as scratch:
        try:
            programs = _fetched(Path(scratch))
        except DockbusError as error:
            print(error, file=sys.stderr)
            return 1
        path = os.pathsep.join([*programs, os.environ["PATH"]])
        signal.signal(
            signal.SIGINT, lambda _signal, _frame: None
        )  # pytest hears Ctrl-C too and ends in order
        inside = ["unshare", "--net", sys.executable, __file__, *arguments]
        return subprocess.call(inside, env=os.environ | {"PATH": path, _INSIDE: scratch})


def _inside(scratch: Path, arguments: list[str]) -> int:
    import pytest  # noqa: PLC0415  only here, for its start takes a while

    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with private_engine(scratch / "engine26", print) as address:
        os.environ["DOCKBUS_ENGINE_HOST"] = address
        return pytest.main(arguments)


def _fetched(scratch: Path) -> list[str]:
    """Everything that the tests will want; returns the folders that PATH begins with."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        raise MissingTool("a network namespace takes root, `unshare` and `ip`")
    for name, package in _INSTALLED.items():
        if not shutil.which(name):
            apt.install(package, scratch, print)
    unpacked = [debian.program(name, path, scratch, print) for path, name in _UNPACKED.items()]
    return [str(trixie.programs(print)), *(str(Path(path).parent) for path in unpacked)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
