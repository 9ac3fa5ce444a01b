"""A Redis and an Engine of the test's own, which can be killed, frozen and started again on what they had."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from dockbus import local
from dockbus.engine import Engine, EngineError
from dockbus.local.engine import why_not_private
from dockbus.local.process import running
from dockbus.settings import EngineSettings
from waiting import wait_for

Say = Callable[[str], None]


class RedisServer:
    """The embedded Redis of a folder, as the product starts it, append-only file and all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self.url = ""
        self.start()

    def start(self) -> None:
        """Start it, or start it again."""
        self.url = self._stack.enter_context(local.local_redis(self._folder, lambda _: None))

    def kill(self) -> None:
        """SIGKILL."""
        self._signal(signal.SIGKILL)
        self.stop()

    def freeze(self) -> None:
        """Stop its process where it is: connections stay open, nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        self._stack.close()

    def _signal(self, number: int) -> None:
        os.kill(int((self._folder / "redis.pid").read_text()), number)


class EngineServer:
    """A Docker Engine in `folder`, on a network of its own, where no other Engine can be disturbed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._server = ExitStack()
        self.host = f"unix://{folder / 'docker.sock'}"
        folder.mkdir(mode=0o700)
        self._stack.callback(self._remove)
        (folder / "daemon.json").write_text(
            json.dumps(
                {
                    "data-root": str(folder / "data"),
                    "exec-root": str(folder / "exec"),
                    "pidfile": str(folder / "docker.pid"),
                    "hosts": [self.host],
                    "group": "root",
                }
            )
        )
        # Holds the network while the Engine is down.
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self._stack.callback(self._holder.wait)
        self._stack.callback(self._holder.kill)
        self.start()

    def start(self) -> None:
        """Start it, or start it again on the same folder."""
        engine = Engine(EngineSettings(host=self.host, timeout=5.0))
        self._server.callback(engine.close)
        self._server.enter_context(
            running(
                [
                    *("nsenter", f"--net=/proc/{self._holder.pid}/ns/net"),
                    *("dockerd", "--config-file", str(self._folder / "daemon.json")),
                ],
                log=self._folder / "dockerd.log",
                answers=partial(answers, engine),
                timeout=60,
                grace=30,
            )
        )
        self._running = True

    def kill(self) -> None:
        """SIGKILL to the Engine, and with it to its containerd; what it runs is left to itself."""
        os.kill(int((self._folder / "docker.pid").read_text()), signal.SIGKILL)
        self._server.close()
        pidfile = self._folder / "exec" / "containerd" / "containerd.pid"
        wait_for(partial(_is_dead, int(pidfile.read_text())), what="containerd to be gone")
        pidfile.unlink()  # where nobody has reaped it, the Engine would take it for alive
        self._running = False

    def stop(self) -> None:
        """End it and remove all that it had."""
        if not self._running:  # it ends its containers when it starts
            self.start()
        self._server.close()
        self._stack.close()

    def _remove(self) -> None:
        # A killed containerd forgets some of the shims that it had started; each has the folder in its command.
        for found in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it has ended meanwhile
                command = found.read_bytes()
                if b"containerd-shim" in command and bytes(self._folder) in command:
                    os.kill(int(found.parent.name), signal.SIGKILL)
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        for mount in reversed([line.split()[4] for line in mounts]):
            if Path(mount).is_relative_to(self._folder):
                subprocess.run(["umount", "--lazy", mount], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self._folder, ignore_errors=True)


def answers(engine: Engine) -> bool:
    """Whether an Engine says who it is."""
    with suppress(EngineError):
        return bool(engine.id)
    return False


def _is_dead(pid: int) -> bool:
    """Whether a process is gone, or only waits to be reaped."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


@contextmanager
def redis_server(folder: Path) -> Generator[RedisServer]:
    """A Redis to the end of the block."""
    server = RedisServer(folder)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def engine_server(folder: Path) -> Generator[EngineServer]:
    """An Engine to the end of the block; where there can be none the test is skipped, and fails in CI."""
    installed = shutil.which("dockerd") is not None
    if why := why_not_private(root=os.geteuid() == 0, installed=installed, apt=False):
        (pytest.fail if os.environ.get("CI") or os.environ.get("DOCKBUS_CI") else pytest.skip)(why)
    server = EngineServer(folder)
    try:
        yield server
    finally:
        server.stop()
