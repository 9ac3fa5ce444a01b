"""Containers on their way out: stopped with the time that they were made to have for it, then removed.

    dockbus:scaler:leaving:ENGINE   set: their IDs

What is in that set is seen through by whoever leads, also when the scaler that began it has died.
"""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import logging
import threading
from typing import Any

from redis import Redis

from dockbus.connection import reachable
from dockbus.engine import ContainerNotFound, Engine
from dockbus.errors import DockbusError

log = logging.getLogger(__name__)

LONGEST_STOP = 24 * 3600
"""Seconds that a container gets to stop which was made to be waited for without end."""


class Leaving:
    """Those of one Engine, each stopped in a thread of its own."""

    def __init__(self, redis: Redis, engine: Engine) -> None:
        self._redis = redis
        self._engine = engine
        self._key = f"dockbus:scaler:leaving:{engine.name}"
        self._threads: dict[str, threading.Thread] = {}

    def all(self) -> set[str]:
        """Their IDs.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        with reachable():
            found: Any = self._redis.smembers(self._key)
        return {raw.decode() for raw in found}

    def add(self, container: str) -> None:
        """Have one leave.

        Raises:
            RedisUnavailable: Redis does not answer; nothing has begun.
        """
        with reachable():
            self._redis.sadd(self._key, container)
        self._see_off(container)

    def go_on(self) -> None:
        """See those through that nobody in this process does already.

        Raises:
            RedisUnavailable: Redis does not answer.
        """
        self._threads = {key: it for key, it in self._threads.items() if it.is_alive()}
        for container in self.all() - set(self._threads):
            self._see_off(container)

    def _see_off(self, container: str) -> None:
        # A daemon: nobody waits for it at the end. The Engine goes on stopping, and the next scaler removes.
        thread = threading.Thread(target=self._try_removing, args=(container,), daemon=True)
        self._threads[container] = thread
        thread.start()

    def _try_removing(self, container: str) -> None:
        try:
            self._remove(container)
            with reachable():
                self._redis.srem(self._key, container)
        except DockbusError as error:
            log.warning("container %s is to be removed, and is not yet: %s", container[:12], error)
        except Exception:
            log.exception("container %s is to be removed: a bug in dockbus", container[:12])

    def _remove(self, container: str) -> None:
        containers = self._engine.containers
        try:
            patience = containers.get(container).stop_timeout
            grace = float(LONGEST_STOP if patience < 0 else patience)
            for _ in containers.change(container, "stop", grace=grace):
                pass
        except ContainerNotFound:
            return
        containers.remove(container)
