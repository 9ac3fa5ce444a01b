"""The README's program, run as it stands against a bus with a real worker."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from dockbus import Bus, Settings
from dockbus.engine import Engine, EngineError
from processes import Program, environment

README = Path(__file__).parent.parent.parent / "README.md"


def test_the_readmes_program_does_what_it_says(
    bus: Bus, engine: Engine, settings: Settings, base_image: str, start: Callable[..., Program]
) -> None:
    block = re.search(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    had_busybox = engine.images.find("busybox") is not None
    if not had_busybox:  # no registry here
        engine.images.tag(base_image, "busybox:latest")
    start("worker", "run")
    try:
        done = subprocess.run(
            [sys.executable, "-c", block[1]],
            env=environment(settings),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        if not had_busybox:
            with contextlib.suppress(EngineError):
                engine.images.remove("busybox:latest")

    assert done.stderr == ""
    assert done.stdout.splitlines() == ["stdout hello", "3"]
