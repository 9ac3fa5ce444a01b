"""The demo, run as `make demo` runs it: the whole story is told and nothing of it stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dockbus.engine import Engine

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


@pytest.mark.timeout(240)
def test_the_demo_tells_its_story_and_leaves_nothing(
    engine: Engine, engine_host: str, base_image: str
) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKBUS_", "DOCKER_"))}

    done = subprocess.run(
        [sys.executable, str(DEMO)],
        env=clean | {"DOCKBUS_ENGINE_HOST": engine_host, "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    _, _, table = done.stdout.partition("The jobs")
    for kind in ("build", "scan", "run", "cleanup"):
        [row] = [line for line in table.splitlines() if f" {kind} " in line]
        assert "succeeded" in row
    assert "exit code 0" in table
    assert not engine.containers.all(labels={"dockbus.demo": ""})
    assert not [
        image for image in engine.images.all() if "dockbus.demo" in image.labels and image.tags
    ]
    assert engine.images.find(base_image), "it must leave what was there before"
