"""Sinks: URLs that are told of events. A part of `dockbus watch`: a courier for each sink of the files, as they are now.

Each event that a sink wants is sent to it at least once, in no promised order, or is among its dead letters.
"""

from __future__ import annotations

import logging
import threading
import time

from dockbus.bus import Bus
from dockbus_producer.sinks.courier import Courier
from dockbus_producer.sinks.sink import Sink, SinkError, load
from dockbus_producer.yaml_files import EntryFiles

__all__ = ["Sink", "SinkError", "Sinks", "load"]

log = logging.getLogger(__name__)

GRACE = 3.0
"""Seconds that requests under way are given when it stops."""


class Sinks:
    """Sends to the sinks of DOCKBUS_WATCH_SINKS.

    Raises:
        SinkError: a file is wrong.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._files = EntryFiles(bus.settings.watch.sinks, "sinks", load)
        self._couriers: dict[str, tuple[Courier, threading.Thread]] = {}
        self._stopping = threading.Event()

    def run(self) -> None:
        """Send until `stop` is called."""
        self._employ(self._files.entries)
        while not self._stopping.wait(0.2):
            if self._files.refresh():
                self._employ(self._files.entries)
        self._dismiss(list(self._couriers))

    def stop(self) -> None:
        """End `run` within a few seconds, from any thread."""
        self._stopping.set()

    def _employ(self, sinks: list[Sink]) -> None:
        """A courier for each of these; who serves a sink that is as it was goes on."""
        wanted = {sink.name: sink for sink in sinks}
        self._dismiss(
            [
                name
                for name, (courier, _) in self._couriers.items()
                if wanted.get(name) != courier.sink
            ]
        )
        for name, sink in wanted.items():
            if name not in self._couriers:
                courier = Courier(self._bus, sink, self._bus.settings.secrets.dir)
                thread = threading.Thread(target=courier.run, name=f"sink-{name}", daemon=True)
                self._couriers[name] = courier, thread
                thread.start()

    def _dismiss(self, names: list[str]) -> None:
        gone = [self._couriers.pop(name) for name in names]
        for courier, _ in gone:
            courier.stop()
        deadline = time.monotonic() + GRACE
        for courier, thread in gone:
            thread.join(max(0.0, deadline - time.monotonic()))
            courier.join(deadline)
