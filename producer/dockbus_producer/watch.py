"""`dockbus watch`: one process that publishes an Engine's events and runs the rules on all events of the bus.

It keeps nothing. Any number may run, beside one Engine or many: events and jobs are told apart by what they are
about. SIGTERM and SIGINT set a flag; what was under way is read again by the next one.
"""

from __future__ import annotations

import logging
import signal
import threading
import time

from dockbus.bus import Bus
from dockbus.engine import Engine
from dockbus.errors import DockbusError
from dockbus.exposition import own_metrics
from dockbus.settings import Settings
from dockbus_producer.dispatcher import Dispatcher
from dockbus_producer.docker_events import DockerEvents
from dockbus_producer.label_schedules import LabelSchedules
from dockbus_producer.rules import Rule, load
from dockbus_producer.sinks import Sinks
from dockbus_producer.watch_metrics import WatchMetrics
from dockbus_producer.yaml_files import EntryFiles

log = logging.getLogger(__name__)


class WatchFailed(DockbusError):
    """A part of `dockbus watch` broke, so it has stopped; the log above says what happened."""


class RuleFiles(EntryFiles[Rule]):
    """The rules in a file or folder, as it is now."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "rules", load)

    @property
    def rules(self) -> list[Rule]:
        """The rules that are in force."""
        return self.entries


def watch(settings: Settings) -> None:
    """Publish and dispatch until SIGTERM or SIGINT. Neither Redis nor the Engine need be there yet.

    Raises:
        RuleError: a rule file is wrong.
        SettingsError: metrics cannot be served where they should be.
        SinkError: a file of sinks is wrong.
        WatchFailed: a part of it has died.
    """
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    files = RuleFiles(settings.watch.rules)
    engine = Engine(settings.engine)
    with Bus(settings) as bus:
        parts = (
            events := DockerEvents(engine, bus),
            dispatcher := Dispatcher(bus, files.rules),
            labels := LabelSchedules(bus, files.rules),
            Sinks(bus),
        )
        threads = [threading.Thread(target=part.run, daemon=True) for part in parts]
        log.info("watching Engine %s at %s, %d rules", engine.name, engine.host, len(files.rules))
        measured = WatchMetrics(engine.name, events)
        with own_metrics(settings.metrics, "watch", measured, trouble=events.trouble):
            for thread in threads:
                thread.start()
            while not asked and all(thread.is_alive() for thread in threads):
                time.sleep(0.2)
                if files.refresh():
                    dispatcher.rules = labels.rules = files.rules
        for part in parts:
            part.stop()
        for thread in threads:
            thread.join(timeout=5.0)  # one that waits for a Redis that hangs has nothing to finish
    engine.close()
    if not asked:
        raise WatchFailed
    log.info("stopped watching Engine %s", engine.name)
