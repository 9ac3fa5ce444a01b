"""A container to try things on, gone after the block."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from dockbus.engine import ContainerSpec, Engine, EngineError
from dockbus.engine.errors import translated
from dockbus.jobs.running import Network
from waiting import wait_for

LABELS = {"dockbus.test": "1"}


def new_network(engine: Engine, name: str) -> Any:
    """A network. Another Engine that starts beside this one takes the firewall's chains away for a moment."""

    def made() -> Any:
        try:
            with translated():
                return engine.api.create_network(name, labels=LABELS)
        except EngineError as error:
            if "iptables" not in str(error):
                raise
            return None

    return wait_for(made, 30, f"network {name}")


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
