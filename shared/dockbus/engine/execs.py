"""Commands in containers that run ("execs"): made, started once, looked at.

An exec is made before it is started, and the Engine starts each once at most: whoever keeps its ID can make sure of
that. The Engine has no way to stop one, and forgets one a few minutes after its end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dockbus.engine.streams import Stream, read_output
from dockbus.engine.views import LogChunk

if TYPE_CHECKING:
    from dockbus.engine.client import Engine

ENDLESS = 10 * 24 * 3600
"""Seconds for which a command may be silent: longer than any job lasts."""


@dataclass(frozen=True)
class ExecView:
    """A command in a container."""

    running: bool
    exit_code: int | None
    """None until it has ended."""
    pid: int
    """Of its program, as the Engine's machine counts; 0 where that never began."""

    @property
    def is_new(self) -> bool:
        """Whether it was never started."""
        return not self.running and self.exit_code is None


class Execs:
    """The commands in the containers of one Engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(
        self,
        container: str,
        command: Sequence[str],
        *,
        user: str | None = None,
        working_dir: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Make a command that is not started; returns its ID.

        Raises:
            ContainerNotFound: the container is not there.
            EngineConflict: it does not run, or is paused.
        """
        body: dict[str, Any] = {
            "Cmd": list(command),
            "User": user or "",
            "WorkingDir": working_dir or "",
            "Env": [f"{name}={value}" for name, value in (env or {}).items()],
            "AttachStdout": True,
            "AttachStderr": True,
        }
        return str(self._engine.call("POST", f"/containers/{container}/exec", body=body)["Id"])

    def start(self, exec_id: str) -> Stream[LogChunk]:
        """Start it; what it writes, to its end. Whoever stops reading does not stop it.

        Raises:
            EngineConflict: it has been started before.
            ExecNotFound: it is not there, or no longer.
            CommandNotFound: the container has no such program.
        """
        return self._engine.open(
            "POST",
            f"/exec/{exec_id}/start",
            read_output,
            params={},
            idle=ENDLESS,
            headers={"Content-Type": "application/json"},
            body=json.dumps({"Detach": False, "Tty": False}).encode(),
        )

    def get(self, exec_id: str) -> ExecView:
        """How it is.

        Raises:
            ExecNotFound: it is not there, or no longer.
        """
        raw = self._engine.call("GET", f"/exec/{exec_id}/json")
        return ExecView(running=raw["Running"], exit_code=raw["ExitCode"], pid=raw["Pid"])
