"""What a handler is given beside its spec: the Engine, a place for its log, and the moments it must stop at.

A handler calls `check` between steps, or reads long answers through `pump`, which does so for it.
Nothing is interrupted from outside: no alarm, no exception thrown into a thread, so a handler always
knows where it is when it stops.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from dockbus.engine import Engine, Stream
from dockbus.errors import DockbusError, JobTimeout
from dockbus.ids import JobId
from dockbus.joblog import JobLog, LogLine, Progress
from dockbus.joblog import Stream as LogStream
from dockbus.settings import Settings
from dockbus.units import show_span

T = TypeVar("T")
TICK = 0.25
"""Seconds between two looks at the clock, the cancel flag and the log buffer."""
BATCH = 200
"""Log entries written in one round trip at most."""


class HandBack(Exception):
    """The worker is going away: leave everything as it is, another worker takes the job over."""


class JobContext:
    """One attempt at one job, as its handler sees it. Used by the slot's own thread only."""

    def __init__(
        self,
        *,
        job: JobId,
        engine: Engine,
        settings: Settings,
        log: JobLog,
        timeout: float,
        last_attempt: bool,
        stopped: Callable[[], DockbusError | None],
        is_active: Callable[[str], bool],
        leaving: threading.Event,
    ) -> None:
        self.job = job
        self.engine = engine
        self.settings = settings
        self.last_attempt = last_attempt
        """Whether the job fails for good if this attempt does."""
        self._log = log
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._stopped = stopped
        self._is_active = is_active
        self._leaving = leaving
        self._buffer: list[LogLine | Progress] = []
        self._next_tick = 0.0

    def check(self) -> None:
        """Go on, or stop by one of these.

        Raises:
            JobCanceled: somebody asked for it.
            WorkerLost: its attempts are used up; there is only left to clear away.
            JobTimeout: the time of this attempt is over.
            HandBack: the worker is going away.
        """
        now = time.monotonic()
        if now < self._next_tick:
            return
        self._next_tick = now + TICK
        self.flush()
        if error := self._stopped():
            raise error
        if now > self._deadline:
            raise JobTimeout(f"{self.job} had {show_span(self._timeout)}")
        if self._leaving.is_set():
            raise HandBack

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until the job has to stop."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(TICK, left))
            self.check()

    def job_is_active(self, job: str | None) -> bool:
        """Whether that is the ID of a job that has not ended."""
        return bool(job) and self._is_active(str(job))

    def pump(self, start: Callable[[], Stream[T]]) -> Iterator[T]:
        """The items of an Engine stream; while it is started, silent, and between them, the job can be stopped.

        Raises:
            EngineError: the stream could not be had, or broke.
        """
        items: queue.Queue[T | BaseException | None] = queue.Queue(maxsize=1000)
        started: list[Stream[T]] = []
        over = threading.Event()

        def read() -> None:
            try:
                started.append(stream := start())
                if (
                    over.is_set()
                ):  # nobody waited for it: the Engine may take minutes to begin its answer
                    stream.close()
                for item in stream:
                    items.put(item)
                items.put(None)
            except BaseException as error:  # noqa: BLE001  it is raised again in the slot's thread
                items.put(error)

        reader = threading.Thread(target=read, name=f"read-{self.job}", daemon=True)
        reader.start()
        try:
            while True:
                try:
                    item = items.get(timeout=TICK)
                except queue.Empty:
                    self.check()
                    continue
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
                self.check()
        finally:
            over.set()
            for stream in started:
                stream.close()
            while started and reader.is_alive():  # it may wait for room in the queue
                while not items.empty():
                    items.get_nowait()
                reader.join(timeout=0.05)

    # -- log and progress ------------------------------------------------------------------

    def log(self, text: str, stream: LogStream = "system", stamp: str = "") -> None:
        """Add a line to the job's log."""
        self._write(LogLine(stream=stream, text=text, stamp=stamp))

    def progress(self, progress: Progress) -> None:
        """Tell how far the work has come."""
        self._write(progress)

    def last_stamp(self) -> str:
        """The Engine's timestamp of the last line that an earlier attempt has logged; empty if there is none."""
        return self._log.last_stamp()

    def flush(self) -> None:
        """Write what is buffered."""
        if self._buffer:
            written, self._buffer = self._buffer, []
            self._log.write(written)

    def _write(self, entry: LogLine | Progress) -> None:
        self._buffer.append(entry)
        if len(self._buffer) >= BATCH:
            self.flush()
