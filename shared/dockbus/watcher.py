"""Discovery: which labelled containers run, on all Engines of a bus, and a call when one comes or goes.

    watcher = Watcher(bus, labels={"web.enabled": "true"}, prefix="web", schema=Route)

    @watcher.on_add
    def added(container: ContainerState, route: Route) -> None: ...

The snapshot says what is; an event only says that it is time to look there again. So nothing has to be heard for the
watcher to come right, and a container that came and went between two looks is never told. It needs no Engine, and
remembers nothing: a watcher that starts anew tells first of all that runs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from dockbus.bus import Bus
from dockbus.errors import RedisUnavailable
from dockbus.events import CONTAINER, StoredEvent
from dockbus.ids import StreamId
from dockbus.labels import InvalidLabels, LabelModel
from dockbus.snapshot import ContainerState

log = logging.getLogger(__name__)

L = TypeVar("L", bound=LabelModel)
Callback = Callable[[ContainerState, L], object]

ROUND = 30.0
"""Seconds after which all is compared with the snapshot, whatever was heard."""
LISTEN = 0.5
"""Seconds for which an event is waited for; being told to stop is noticed after that."""
_SOURCE = "/engines/"
_ENGINE = "io.dockbus.engine."

_Key = tuple[str, str]
"""A container: its Engine's name, its ID."""
_Seen = dict[_Key, ContainerState | None]
"""Containers as they are now, None for one that is not there."""


@dataclass
class _Held(Generic[L]):
    """One life of a container: from a start to its end. Without labels that are valid it is held, and not told of."""

    container: ContainerState
    labels: L | None


class Watcher(Generic[L]):
    """Calls back when a container with certain labels starts, and when it ends.

    Each life of a container is added once and removed once. It ends when the container dies, for whatever reason: a
    stop, a crash, a restart (which adds the next life). Being paused, renamed or unhealthy is no end.
    """

    def __init__(
        self, bus: Bus, *, labels: Mapping[str, str], prefix: str, schema: type[L]
    ) -> None:
        """A watcher that has not begun yet.

        Args:
            bus: where the Docker-event producer of each Engine reports.
            labels: what a container must have to be found; an empty value matches any.
            prefix: of the labels that `schema` reads: `web` for `web.port`. Those in `labels` are left out.
            schema: what those labels make up.
        """
        self._bus = bus
        self._labels = dict(labels)
        self._prefix = prefix
        self._schema = schema
        self._callbacks: dict[str, list[Callback[L]]] = {"added": [], "removed": []}
        self._held: dict[_Key, _Held[L]] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def on_add(self, callback: Callback[L]) -> Callback[L]:
        """Call this with each container that has started, or runs already, and its labels.

        Callbacks are called one after the other, in the watcher's thread. One that raises is logged and not called
        again for this life; the container counts as added.
        """
        self._callbacks["added"].append(callback)
        return callback

    def on_remove(self, callback: Callback[L]) -> Callback[L]:
        """Call this with each container that was added and has ended, as it was last seen, and its labels."""
        self._callbacks["removed"].append(callback)
        return callback

    @property
    def now(self) -> list[tuple[ContainerState, L]]:
        """What is added now: containers as they were last seen, and their labels; whoever started first comes first."""
        held = [
            (one.container, one.labels)
            for one in list(self._held.values())  # the watcher's thread may go on meanwhile
            if one.labels is not None
        ]
        return sorted(held, key=lambda one: (str(one[0].started), one[0].id))

    def discover(self) -> list[tuple[ContainerState, L]]:
        """Look once, before `run` or instead of it; calls back as that does, and returns what is added then.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        self._update(self._look())
        log.info("%d containers are there", len(self.now))
        return self.now

    # -- running ---------------------------------------------------------------------------

    def run(self) -> None:
        """Watch until `stop` is called. A Redis that is away does not end it: it goes on when that is back."""
        away = False
        while not self._stopping.is_set():
            try:
                position = self._bus.event_stream.end()  # what happens while we look will be heard
                self._update(self._look())
                if away:
                    log.info("Redis is back")
                away = False
                self._listen(position)
            except RedisUnavailable as error:
                if not away:
                    log.warning("discovery stands still: %s", error)
                away = True
                self._stopping.wait(1.0)

    def start(self) -> None:
        """Watch in a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watching, from any thread, once for ever. Nothing is removed: the containers go on."""
        self._stopping.set()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- looking ---------------------------------------------------------------------------

    def _listen(self, position: StreamId) -> None:
        """Look at whatever events speak of, until the round is over."""
        over = time.monotonic() + ROUND
        while not self._stopping.is_set() and time.monotonic() < over:
            batch = self._bus.event_stream.read(position, block=LISTEN)
            seen: _Seen = {}
            for engine, container in dict.fromkeys(_concerned(batch)):
                if container:
                    found = self._bus.snapshot.container(engine, container)
                    seen[engine, container] = found
                else:
                    seen |= self._look(engine)
            self._update(seen)
            position = batch[-1].position if batch else position

    def _look(self, engine: str | None = None) -> _Seen:
        """All containers of one Engine or of all, those that are held and gone included."""
        # What an Engine has is known once all of it was seen; that Redis has lost it all ends no container.
        known = {one.name for one in self._bus.snapshot.engines() if one.resynced}
        held = [key for key in self._held if key[0] in known and engine in (None, key[0])]
        found = self._bus.snapshot.containers(engine=engine)
        # Those that are held come first: who goes, before who comes in its place.
        return dict.fromkeys(held) | {(one.engine, one.id): one for one in found}

    def _update(self, seen: _Seen) -> None:
        """Bring what is held in line with what was seen, then tell, so that `now` is whole when a callback asks."""
        changes = [change for key in seen for change in self._settle(key, seen[key])]
        for verb, container, labels in changes:
            self._tell(verb, container, labels)

    def _settle(
        self, key: _Key, seen: ContainerState | None
    ) -> Iterator[tuple[str, ContainerState, L | None]]:
        """What is to tell of a container, now that it was seen, or is not there."""
        if held := self._held.get(key):
            same = seen if seen and seen.started == held.container.started else None
            if same and self._wants(same):
                held.container = same
                return
            del self._held[key]
            yield "removed", same or held.container, held.labels
        if seen and self._wants(seen):
            labels = self._parse(seen)
            self._held[key] = _Held(seen, labels)
            yield "added", seen, labels

    def _wants(self, seen: ContainerState) -> bool:
        return (
            seen.state in ("running", "paused")
            and seen.started is not None  # else it was not looked at yet
            and all(
                name in seen.labels and value in ("", seen.labels[name])
                for name, value in self._labels.items()
            )
        )

    def _parse(self, seen: ContainerState) -> L | None:
        try:
            return self._schema.from_labels(seen.labels, self._prefix, besides=self._labels)
        except InvalidLabels as error:
            log.warning("%s is left out: %s", _name(seen), error)
        except Exception:  # of a validator; labels come from anybody and must not end us
            log.exception("%s is left out: its labels could not be read", _name(seen))
        return None

    def _tell(self, verb: str, seen: ContainerState, labels: L | None) -> None:
        if labels is None:
            return
        log.info("%s %s: %s", verb, _name(seen), labels)
        for callback in self._callbacks[verb]:
            try:
                callback(seen, labels)
            except Exception:  # the others, and the next container, must still be told
                log.exception("%s: a callback failed when it was %s", _name(seen), verb)


def _concerned(batch: Iterable[StoredEvent]) -> Iterator[_Key]:
    """What these events speak of: a container, or, where the ID is empty, an Engine."""
    for event in (stored.event for stored in batch):
        if event.source.startswith(_SOURCE) and event.type.startswith((CONTAINER, _ENGINE)):
            container = event.subject if event.type.startswith(CONTAINER) else ""
            yield event.source.removeprefix(_SOURCE), container


def _name(seen: ContainerState) -> str:
    return f"container {seen.id[:12]} ({seen.name} on Engine {seen.engine})"
