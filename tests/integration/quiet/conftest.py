"""Tests of what an Engine's stream tells have an Engine that nobody else uses, where one can be started.

It remembers 256 events of all its users: neighbours would have it forget what a test wants to read again, and a test
that makes it forget would take from theirs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from dockbus import local
from dockbus.engine import Engine
from dockbus.local.engine import why_not_private
from dockbus.settings import EngineSettings
from e2e.chaos.services import engine_server


@pytest.fixture(scope="session")
def engine_host(engine_host: str, scratch: Path) -> Generator[str]:
    installed = shutil.which("dockerd") is not None
    if why_not_private(root=os.geteuid() == 0, installed=installed, apt=False):
        yield engine_host
        return
    with engine_server(scratch / "quiet-engine") as server:
        yield server.host


@pytest.fixture(scope="session")
def engine(engine_host: str) -> Generator[Engine]:
    engine = Engine(EngineSettings(host=engine_host))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def base_image(engine: Engine, scratch: Path, say: Callable[[str], None]) -> str:
    return local.base_image(engine, scratch / "quiet", say)


@pytest.fixture
def left(engine: Engine) -> Generator[list[str]]:
    """Containers to remove at the end."""
    containers: list[str] = []
    yield containers
    for container in containers:
        engine.containers.remove(container, force=True)
