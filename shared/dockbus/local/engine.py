"""A Docker Engine to work with: the machine's own, else a private one that leaves nothing behind.

The private Engine needs root on Debian or Ubuntu (CI, a container, a rented machine). It shares only
the machine's network: a second daemon beside another one in the same network namespace takes over its
`docker0`, which is why an Engine that answers is always preferred.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from dockbus.engine import DEFAULT_HOST, Engine, EngineError
from dockbus.errors import DockbusError
from dockbus.local import apt
from dockbus.local.process import running, socket_path
from dockbus.settings import EngineSettings, Settings


class NoEngine(DockbusError):
    """There is no Docker Engine to use.

    Install Docker (`apt install docker.io` on Debian or Ubuntu), start it and join the group `docker`,
    or point DOCKBUS_ENGINE_HOST at an Engine that runs.
    """


@contextmanager
def local_engine(scratch: Path, say: Callable[[str], None]) -> Generator[str]:
    """The address of an Engine that answers to the end of the block.

    The one that the environment names, or that has the default socket, is used as it is. Where there is
    none, one is started in `scratch`, and Docker is installed first if need be.

    Raises:
        NoEngine: none answers and none can be started here.
        MissingTool: Docker could not be installed.
        StartFailed: the private Engine did not start.
    """
    settings = Settings.from_env().engine
    refusal = _refusal(settings)
    if not refusal:
        yield settings.host or DEFAULT_HOST
        return
    if settings.host:
        raise NoEngine(f"the environment names one that does not answer, {refusal}")
    installed = shutil.which("dockerd") is not None
    if obstacle := why_not_private(
        root=os.geteuid() == 0, installed=installed, apt=apt.can_install()
    ):
        raise NoEngine(f"{refusal}; {obstacle}")
    if not installed:
        apt.install("docker.io", scratch, say)
        if not _refusal(settings):  # with an init system, the package starts the machine's own
            yield DEFAULT_HOST
            return
    with private_engine(scratch, say) as address:
        yield address


def why_not_private(*, root: bool, installed: bool, apt: bool) -> str:
    """Why no private Engine can be started here; empty where one can."""
    if not root:
        return "starting a private one takes root"
    if not installed and not apt:
        return (
            "`dockerd` is not installed, and only Debian and Ubuntu let it be installed from here"
        )
    return ""


@contextmanager
def private_engine(scratch: Path, say: Callable[[str], None]) -> Generator[str]:
    """The address of an Engine of our own, whose every file is below `scratch` and gone after the block.

    One that a killed process left running there is joined.

    Raises:
        StartFailed: it did not start; the end of its log is in the message.
    """
    scratch = scratch.resolve()
    data, state = scratch / "data", scratch / "exec"
    socket_path(state / "containerd" / "containerd.sock.ttrpc")  # the longest of its sockets
    address = f"unix://{scratch / 'docker.sock'}"
    settings = EngineSettings(host=address)
    if not _refusal(settings):
        yield address
        return
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = scratch / "daemon.json"  # all of it, so that the machine's own daemon.json is not read
    config.write_text(
        json.dumps(
            {
                "data-root": str(data),
                "exec-root": str(state),
                "pidfile": str(scratch / "docker.pid"),
                "hosts": [address],
                "group": "root",
            }
        )
    )
    say(f"starting a private Docker Engine in {scratch}")
    try:
        with running(
            ["dockerd", "--config-file", str(config)],
            log=scratch / "dockerd.log",
            answers=lambda: not _refusal(settings),
            timeout=60,
            grace=30,
        ):
            try:
                yield address
            finally:
                _remove_networks(settings)
    finally:
        _unmount(scratch)
        for folder in (data, state):
            shutil.rmtree(folder, ignore_errors=True)


def _refusal(settings: EngineSettings) -> str:
    """Why the Engine cannot be used; empty if it answers."""
    try:
        Engine(settings.model_copy(update={"timeout": 5.0})).info()
    except EngineError as error:
        return error.detail or error.title
    return ""


def _remove_networks(settings: EngineSettings) -> None:
    """Remove the networks that dockbus made there: the Engine would leave their interfaces on this machine."""
    with contextlib.suppress(EngineError), contextlib.closing(Engine(settings)) as engine:
        engine.networks.remove_managed()


def _unmount(folder: Path) -> None:
    """Unmount all that a daemon left mounted below `folder`, newest first."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed(mounts):
        if Path(mount).is_relative_to(folder):
            subprocess.run(["umount", "--lazy", mount], check=False, stderr=subprocess.DEVNULL)
