"""Keeps a few long-running programs alive and shows what they say, each line with the name of its speaker.

For one machine and one terminal (`dockbus up`, the demo); where there is an init system or a compose
file, that does this better.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

GRACE = 40.0
"""Seconds that programs get to stop; longer than a worker's drain."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a program that ended is started again; doubled each time until it has run for a minute."""


@dataclass
class _Program:
    name: str
    command: Sequence[str]
    process: subprocess.Popen[str] | None = None
    pause: float = FIRST_PAUSE
    thread: threading.Thread | None = field(default=None, repr=False)


class Supervisor:
    """Runs programs until it is stopped. `say(name, line)` gets every line of theirs, from several threads."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self._say = say
        self._programs: list[_Program] = []
        self._stopping = threading.Event()

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Run a program, and run it again whenever it ends."""
        program = _Program(name, command)
        program.thread = threading.Thread(
            target=self._keep, args=(program, env), name=name, daemon=True
        )
        self._programs.append(program)
        program.thread.start()

    def stop(self) -> None:
        """Stop all: SIGTERM, then after a grace period SIGKILL."""
        self._stopping.set()
        for program in self._programs:
            if program.process:
                program.process.terminate()
        deadline = time.monotonic() + GRACE
        for program in self._programs:
            if program.thread:
                program.thread.join(timeout=max(0.0, deadline - time.monotonic()))
        for program in self._programs:
            if program.process and program.process.poll() is None:
                self._say(program.name, "did not stop in time; killed")
                program.process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _keep(self, program: _Program, env: Mapping[str, str]) -> None:
        while not self._stopping.is_set():
            begun = time.monotonic()
            code = self._run(program, env)
            if self._stopping.is_set():
                return
            if time.monotonic() - begun > 60:
                program.pause = FIRST_PAUSE
            self._say(
                program.name, f"ended with code {code}; starting again in {program.pause:.0f} s"
            )
            self._stopping.wait(program.pause)
            program.pause = min(2 * program.pause, LONGEST_PAUSE)

    def _run(self, program: _Program, env: Mapping[str, str]) -> int:
        # A session of its own, so that Ctrl-C reaches only the supervisor, which stops all in order.
        with subprocess.Popen(
            program.command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            program.process = process
            if self._stopping.is_set():  # asked to stop while this one was being started
                process.terminate()
            with suppress(ValueError):
                for line in process.stdout or ():
                    self._say(program.name, line.rstrip())
        return process.returncode
