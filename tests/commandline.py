"""The installed `dockbus` command, as its users call it: a process of its own, with an environment of its own.

Most calls are forked from a process that has imported it already (`prepared`), which saves a second each. What is called
with other variables than dockbus' own, or is another program, is started from scratch.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import prepared

PROGRAM = Path(sys.executable).parent / "dockbus"


class CommandLine:
    """Calls `dockbus` with these variables and no other of dockbus' or Docker's."""

    def __init__(self, program: Path = PROGRAM, **variables: str) -> None:
        self.program = program
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("DOCKBUS_", "DOCKER_"))
        }
        self.env = inherited | variables
        ours = all(name.startswith(("DOCKBUS_", "DOCKER_")) for name in variables)
        self._is_usual = ours and program == PROGRAM

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        if self._is_usual:
            return prepared.call(words, self.env, timeout=60)
        return subprocess.run(
            [self.program, *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env=self.env,
            stdin=subprocess.DEVNULL,
        )

    def ok(self, *words: str) -> str:
        """Call it; what it wrote to stdout, if it succeeded."""
        done = self(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def started(
        self, *words: str, stderr: int = subprocess.PIPE
    ) -> Generator[subprocess.Popen[bytes]]:
        """Start it and go on; it does not outlive the block."""
        with subprocess.Popen(
            [self.program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=self.env,
        ) as process:
            try:
                yield process
            finally:
                process.kill()
