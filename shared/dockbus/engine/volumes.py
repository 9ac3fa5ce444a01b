"""The Engine's volumes: those that dockbus makes itself."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dockbus.engine.errors import EngineRejected, translated
from dockbus.engine.views import VolumeView

if TYPE_CHECKING:
    from dockbus.engine.client import Engine


class Volumes:
    """The volumes of one Engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def make_in_memory(self, name: str, *, size: int, labels: Mapping[str, str]) -> None:
        """Make a volume that is in memory, `size` bytes at most. What is in it goes with the last container that has it.

        Nothing happens where it is there.
        """
        options = {
            "type": "tmpfs",
            "device": "tmpfs",
            "o": f"size={size},mode=0755,noexec,nosuid,nodev",
        }
        with translated():
            self._engine.api.create_volume(
                name, driver="local", driver_opts=options, labels=dict(labels)
            )

    def find(self, name: str) -> VolumeView | None:
        """The volume of this name, or None if it is not there."""
        try:
            with translated():
                return VolumeView.parse(self._engine.api.inspect_volume(name))
        except EngineRejected:
            return None

    def remove(self, name: str) -> None:
        """Remove it; nothing happens if it is gone.

        Raises:
            EngineConflict: a container uses it.
        """
        with contextlib.suppress(EngineRejected), translated():  # there is none
            self._engine.api.remove_volume(name)
