"""Starting dockbus' own programs in tests, as a user would: by the command, with settings in the environment.

They are forked from a process that has imported all of them already (`prepared`): to start one from scratch takes a second.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import cast

from pydantic import SecretStr

import prepared
from dockbus.settings import Settings, variables
from waiting import wait_for


def environment(settings: Settings) -> dict[str, str]:
    """The environment that makes a program read these settings; nothing of the caller's own dockbus leaks in."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DOCKBUS_", "DOCKER_"))
    }
    given = {
        name: _text(getattr(getattr(settings, variable.group), variable.field))
        for name, variable in variables().items()
    }
    return clean | given | {"PYTHONWARNINGS": "error"}


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(map(str, cast("tuple[object, ...]", value)))
    return str(value)


class Program:
    """One started program; what it writes is in `log`."""

    def __init__(self, arguments: list[str], settings: Settings, log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = prepared.Process(arguments, environment(settings), output.fileno())

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
