"""A container to try things on, gone after the block."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager

from dockbus.engine import ContainerSpec, Engine
from dockbus.jobs.running import Network

LABELS = {"dockbus.test": "1"}


@contextmanager
def container(
    engine: Engine, script: str, *, start: bool = True, network: str = "none"
) -> Generator[str]:
    """A container of the base image with this shell script."""
    made = engine.containers.create(
        ContainerSpec(
            name=f"dockbus-test-{secrets.token_hex(4)}",
            image="dockbus/base:1",
            labels=LABELS,
            command=["sh", "-c", script],
            networks=[Network(name=network)],
        )
    )
    try:
        if start:
            engine.containers.start(made)
        yield made
    finally:
        engine.containers.remove(made, force=True)
