"""`dockbus watch`: one process that publishes an Engine's events and runs the rules on all events of the bus.

It keeps nothing. Any number may run, beside one Engine or many: events and jobs are told apart by what they are
about. SIGTERM and SIGINT set a flag; what was under way is read again by the next one.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from pathlib import Path

from dockbus.bus import Bus
from dockbus.engine import Engine
from dockbus.errors import DockbusError, RuleError
from dockbus.settings import Settings
from dockbus_producer.dispatcher import Dispatcher
from dockbus_producer.docker_events import DockerEvents
from dockbus_producer.rules import Rule, load

log = logging.getLogger(__name__)


class WatchFailed(DockbusError):
    """A part of `dockbus watch` broke, so it has stopped; the log above says what happened."""


class RuleFiles:
    """The rules in a file or folder, as it is now."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None
        self._seen = self._stamp()
        self.rules: list[Rule] = load(self._path) if self._path else []

    def refresh(self) -> bool:
        """Whether the rules were changed and read anew. Files that are wrong change nothing; the log says why."""
        if self._path is None or (stamp := self._stamp()) == self._seen:
            return False
        self._seen = stamp
        try:
            self.rules = load(self._path)
        except RuleError as error:
            why, kept = error.detail, len(self.rules)
            log.error("rules not changed, the %d of before stay in force: %s", kept, why)  # noqa: TRY400  no bug
            return False
        log.info("%d rules are in force now", len(self.rules))
        return True

    def _stamp(self) -> dict[Path, int]:
        """All files, each with the time of its last change."""
        if self._path is None:
            return {}
        stamps: dict[Path, int] = {}
        for file in self._path.glob("*.yaml") if self._path.is_dir() else [self._path]:
            with contextlib.suppress(OSError):  # an editor may be replacing it
                stamps[file] = file.stat().st_mtime_ns
        return stamps


def watch(settings: Settings) -> None:
    """Publish and dispatch until SIGTERM or SIGINT. Neither Redis nor the Engine need be there yet.

    Raises:
        RuleError: a rule file is wrong.
        WatchFailed: a part of it has died.
    """
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    files = RuleFiles(settings.watch.rules)
    engine = Engine(settings.engine)
    with Bus(settings) as bus:
        parts = (DockerEvents(engine, bus), dispatcher := Dispatcher(bus, files.rules))
        threads = [threading.Thread(target=part.run, daemon=True) for part in parts]
        log.info("watching Engine %s at %s, %d rules", engine.name, engine.host, len(files.rules))
        for thread in threads:
            thread.start()
        while not asked and all(thread.is_alive() for thread in threads):
            time.sleep(0.2)
            if files.refresh():
                dispatcher.rules = files.rules
        for part in parts:
            part.stop()
        for thread in threads:
            thread.join(timeout=5.0)  # one that waits for a Redis that hangs has nothing to finish
    engine.close()
    if not asked:
        raise WatchFailed
    log.info("stopped watching Engine %s", engine.name)
