"""Starting dockbus' own programs in tests, as a user would: by the command, with settings in the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dockbus.settings import Settings
from waiting import wait_for


def environment(settings: Settings) -> dict[str, str]:
    """The environment that makes a program read these settings; nothing of the caller's own dockbus leaks in."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DOCKBUS_", "DOCKER_"))
    }
    return clean | {
        "DOCKBUS_REDIS_URL": settings.redis.url,
        "DOCKBUS_REDIS_OUTAGE": str(settings.redis.outage),
        "DOCKBUS_BUS_KEY": settings.bus.key.get_secret_value(),
        "DOCKBUS_BUS_DATA_DIR": str(settings.bus.data_dir),
        "DOCKBUS_BUS_PREVIOUS_KEY": settings.bus.previous_key.get_secret_value(),
        "DOCKBUS_ENGINE_NAME": settings.engine.name,
        "DOCKBUS_ENGINE_HOST": settings.engine.host,
        "DOCKBUS_BUILD_ROOT": str(settings.build.root),
        "DOCKBUS_SCAN_TRIVY": settings.scan.trivy,
        "DOCKBUS_SCAN_CACHE_DIR": settings.scan.cache_dir,
        "DOCKBUS_SCAN_OFFLINE": str(settings.scan.offline),
        "DOCKBUS_WORKER_HEARTBEAT": str(settings.worker.heartbeat),
        "DOCKBUS_WORKER_DRAIN": str(settings.worker.drain),
        "PYTHONWARNINGS": "error",
    }


class Program:
    """One started program; what it writes is in `log`."""

    def __init__(self, arguments: list[str], settings: Settings, log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dockbus", *arguments],
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def said(self, words: str) -> bool:
        return words in self.log.read_text()

    def wait_until_said(self, words: str, timeout: float = 60.0) -> None:
        wait_for(
            lambda: self.said(words) or self._ended(words), timeout, f"{words!r} in {self.log}"
        )

    def stop(self) -> int:
        """SIGTERM, and SIGKILL if that does not help; the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def _ended(self, words: str) -> bool:
        if self.process.poll() is not None and not self.said(words):
            raise AssertionError(f"it ended before it said {words!r}:\n{self.log.read_text()}")
        return False
