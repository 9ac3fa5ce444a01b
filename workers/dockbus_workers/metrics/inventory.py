"""Which containers an Engine has, known at any moment without asking: its events are heard, and a list is compared now and then.

A container is inspected when an event tells of it, or when it differs from the list; after a gap in the events all that run
are. Two threads: one reads the stream and does nothing else, for who reads slowly slows the Engine; the other keeps the
books. Both end with `close`, at once.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from dockbus.engine import (
    Container,
    ContainerNotFound,
    Engine,
    EngineError,
    EngineEvent,
    EngineInfo,
    EngineTimeout,
    EngineUnavailable,
    Stream,
)
from dockbus.engine.streams import read_objects
from dockbus_workers.metrics.calls import Calls
from dockbus_workers.metrics.samples import Facts

log = logging.getLogger(__name__)

Heard = queue.SimpleQueue[EngineEvent | EngineError]
"""What was heard; an error is the end."""

RESYNC = 60.0
"""Seconds after which all is compared with the Engine's list, whatever was heard."""
RETRY = 1.0
"""Seconds until an Engine that is away is tried again; sooner where somebody waits for it."""
IDLE = 300.0
"""Seconds of silence after which the stream is opened anew: a dead one is silent, too."""
STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
ACTIONS = (
    *("create", "start", "die", "destroy", "pause", "unpause"),
    *("rename", "update", "health_status"),
)
"""What changes what is known of a container; all else the Engine need not send."""


class Inventory:
    """The containers of one Engine; starts with the first question. Safe to share between threads."""

    def __init__(self, engine: Engine, calls: Calls) -> None:
        self.info: EngineInfo | None = None
        """Who answered last, since the Engine was last there."""
        self._engine = engine
        self._calls = calls
        self._lock = threading.Lock()
        self._facts: dict[str, Facts] = {}
        """Of those that run."""
        self._states: dict[str, str] = {}
        """Of all."""
        self._compared = time.monotonic()
        self._synced = threading.Event()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._stream: Stream[EngineEvent] | None = None
        self._thread: threading.Thread | None = None

    def wait(self, timeout: float) -> bool:
        """Whether it is known what the Engine has, after `timeout` seconds at most; starts to find out."""
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                name = f"inventory-{self._engine.name}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
        self._wake.set()
        return self._synced.wait(max(0.0, timeout))

    @property
    def running(self) -> list[Facts]:
        """The containers that run or are paused."""
        with self._lock:
            return list(self._facts.values())

    @property
    def states(self) -> Mapping[str, int]:
        """How many containers there are, by each of `STATES`."""
        with self._lock:
            counts = Counter(self._states.values())
        return {state: counts[state] for state in STATES}

    @property
    def age(self) -> float:
        """Seconds since all was last compared with the Engine's list, or since it was made."""
        return time.monotonic() - self._compared

    def close(self) -> None:
        """Hear no more, and let the threads end; one that waits for an Engine which is stuck does so a little later."""
        self._stopping.set()
        self._wake.set()
        with self._lock:
            thread, stream = self._thread, self._stream
        if stream:
            stream.close()
        if thread:
            thread.join(1.0)

    # -- in its own thread -----------------------------------------------------------------

    def _run(self) -> None:
        told = ""
        while not self._stopping.is_set():
            try:
                self._follow()
                continue
            except EngineError as error:
                if str(error) != told and not self._stopping.is_set():
                    log.warning("Engine %s: %s Trying until it is back.", self._engine.name, error)
                told = str(error)
            except Exception:
                log.exception("Engine %s: an answer could not be read", self._engine.name)
            self._forget()
            self._wake.clear()
            if not self._stopping.is_set():
                self._wake.wait(RETRY)

    def _forget(self) -> None:
        self._synced.clear()
        self._engine.close()  # it may come back as another version
        self.info = None
        with self._lock:
            self._facts, self._states = {}, {}

    def _follow(self) -> None:
        """Keep up with one stream, until there was nothing on it for long or nobody wants it any more.

        Raises:
            EngineError: the Engine is away.
        """
        heard: Heard = queue.SimpleQueue()
        info = self._calls.make(self._engine.info)
        with closing(self._calls.make(self._subscribe)) as stream:
            with self._lock:
                self._stream = stream
            reader = threading.Thread(
                target=_read, args=(stream, heard), name="events", daemon=True
            )
            reader.start()
            try:
                if self._stopping.is_set():  # `close` may have looked for a stream too early
                    return
                self._compare(afresh=True)  # what happens meanwhile is heard
                self.info = info
                self._synced.set()
                self._keep(heard)
            finally:
                stream.close()
                reader.join()

    def _subscribe(self) -> Stream[EngineEvent]:
        wanted = {"type": ["container"], "event": list(ACTIONS)}
        params = {"filters": json.dumps(wanted)}
        return self._engine.open("GET", "/events", _parse, params=params, idle=IDLE)

    def _keep(self, heard: Heard) -> None:
        while not self._stopping.is_set():
            try:
                event = heard.get(timeout=max(0.0, RESYNC - self.age))
            except queue.Empty:
                self._compare(afresh=False)
                continue
            if isinstance(event, EngineTimeout) or self._stopping.is_set():
                return  # a quiet Engine, or a dead connection: a new one tells
            if isinstance(event, EngineError):
                raise event
            self._apply(event)

    def _compare(self, *, afresh: bool) -> None:
        """Bring all in line with the Engine's list."""
        listed = self._calls.make(self._engine.containers.all)
        with self._lock:
            self._states = {one.id: one.state for one in listed}
            runs = {one.id for one in listed if one.state in ("running", "paused")}
            self._facts = {id_: facts for id_, facts in self._facts.items() if id_ in runs}
        for one in listed:
            if one.id in runs and (afresh or _differs(one, self._facts.get(one.id))):
                self._inspect(one.id)
        self._compared = time.monotonic()

    def _apply(self, event: EngineEvent) -> None:
        if event.action == "destroy":
            with self._lock:
                self._states.pop(event.actor, None)
            self._drop(event.actor)
        elif event.action == "create":  # there is nothing to measure yet
            with self._lock:
                self._states.setdefault(event.actor, "created")
        else:
            self._inspect(event.actor)

    def _inspect(self, container: str) -> None:
        try:
            facts = Facts.parse(
                self._calls.make(lambda: self._engine.containers.inspect(container))
            )
        except ContainerNotFound:
            with self._lock:
                self._states.pop(container, None)
            self._drop(container)
            return
        with self._lock:
            self._states[container] = facts.state
        if facts.runs:
            with self._lock:
                self._facts[container] = facts
        else:
            self._drop(container)

    def _drop(self, container: str) -> None:
        with self._lock:
            self._facts.pop(container, None)


def _differs(listed: Container, known: Facts | None) -> bool:
    return known is None or (known.name, known.state, known.health) != (
        listed.name,
        listed.state,
        listed.health,
    )


def _parse(response: Any) -> Iterator[EngineEvent]:  # noqa: ANN401  of the HTTP client, which only the Engine's door knows
    return map(EngineEvent.parse, read_objects(response))


def _read(stream: Stream[EngineEvent], heard: Heard) -> None:
    end: EngineError = EngineUnavailable("it ended its event stream")
    try:
        for event in stream:
            heard.put(event)
    except EngineError as error:
        end = error
    except Exception:
        log.exception("an event could not be read")
    heard.put(end)
