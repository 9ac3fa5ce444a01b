"""What a handler is given beside its spec: the Engine, a place for its log, and the moments it must stop at.

A handler calls `check` between steps, or reads long answers through `pump`, which does so for it.
Nothing is interrupted from outside: no alarm, no exception thrown into a thread, so a handler always
knows where it is when it stops.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, TypeVar

import redis.exceptions

from dockbus.artefacts import Artefact
from dockbus.bus import Bus
from dockbus.engine import Engine, Stream
from dockbus.errors import JobCanceled, JobTimeout, RedisUnavailable, WorkerLost
from dockbus.joblog import LogLine, Progress
from dockbus.joblog import Stream as LogStream
from dockbus.orders import Order
from dockbus.queue import Attempt, Attempts, End
from dockbus.records import Failure
from dockbus.secrets import read_secret
from dockbus.units import show_span
from dockbus_workers.redaction import Redactor

T = TypeVar("T")
TICK = 0.25
"""Seconds between two looks at the clock, the cancel flag and the log buffer."""
LATELY = 1.0
"""Seconds; a lease lasts several times as long."""
BATCH = 200
"""Log entries written in one round trip at most."""


class Detached(Exception):
    """This attempt has no more say in its job: leave everything as it is, another attempt goes on with it."""


class HandBack(Detached):
    """The worker is going away."""


class JobContext:
    """One attempt at one job, as its handler sees it. Used by the slot's own thread only."""

    def __init__(
        self,
        *,
        attempt: Attempt,
        order: Order,
        attempts: Attempts,
        bus: Bus,
        engine: Engine,
        leaving: threading.Event,
    ) -> None:
        self.job = attempt.job
        self.seal = attempt.seal
        """What tells this very order from an earlier one with the same key."""
        self.engine = engine
        self.settings = bus.settings
        self.redis = bus.redis
        """For a worker's own small state; to be used within `attached`."""
        self.blobs = bus.blobs
        self.jobs = bus.job_store
        """All jobs of the bus; to be asked within `attached`."""
        self.is_first = attempt.token == "1"  # noqa: S105  it counts attempts
        """Whether nobody has begun this job before, so that nothing of it can be there."""
        self.last_attempt = attempt.number > order.policy.max
        """Whether there is no other attempt if this one fails."""
        self.remains: list[Callable[[], None]] = []
        """How to remove what the attempt has made. That is done when its outcome is on record, and only then:
        whoever has to go on with the job finds one or the other."""
        self._attempt = attempt
        self._attempts = attempts
        self._bus = bus
        self._timeout = order.limit
        self._deadline = time.monotonic() + order.limit
        self._leaving = leaving
        self._redactor = Redactor(order.spec)
        self._buffer: list[LogLine | Progress] = []
        self._next_tick = 0.0
        self._held = -LATELY
        """When it was last known to be this attempt's."""

    def check(self) -> None:
        """Go on, or stop by one of these.

        Raises:
            JobCanceled: somebody asked for it.
            WorkerLost: its attempts are used up; there is only left to clear away.
            JobTimeout: the time of this attempt is over.
            Detached: the worker is going away, or another attempt has the job.
        """
        now = time.monotonic()
        if now < self._next_tick:
            return
        self._next_tick = now + TICK
        self.flush()
        match self._attempt.verdict:
            case "superseded":
                raise Detached("its lease had run out")
            case "cancel":
                raise JobCanceled(self.job)
            case "lost":
                raise WorkerLost(self.job)
            case "go-on":
                pass
        if now > self._deadline:
            raise JobTimeout(f"{self.job} had {show_span(self._timeout)}")
        if self._leaving.is_set():
            raise HandBack

    def hold(self, *, here: bool = False, anew: bool = False, lately: bool = False) -> None:
        """Make sure that the job is still this attempt's, just before something is done that counts.

        Args:
            here: from now on further attempts are made on this Engine only, where something of the job will be.
            anew: if this Engine is lost, they may begin anew on another one.
            lately: it will do that it was so within the last `LATELY` seconds.

        Raises:
            Detached: it is not.
        """
        now = time.monotonic()
        if lately and now - self._held < LATELY:
            return
        with self.attached():
            engine = self.engine.name if here else ""
            if not self._attempts.claim(self._attempt, engine=engine, anew=anew):
                raise Detached("its lease had run out")
        self._held = now

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until the job has to stop."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(TICK, left))
            self.check()

    # -- what jobs share -------------------------------------------------------------------

    @contextmanager
    def permit(self, name: str, limit: int = 1, *, waiting: str = "") -> Generator[None]:
        """Hold one of `limit` permits of a name for the block; waits for it.

        All workers of this Engine share them. What a worker held when it died is free as soon as its lease runs out.

        Args:
            name: what it is for, such as `build`.
            limit: how many attempts may hold one at the same time.
            waiting: what to tell in the job's log when there is none yet.
        """
        key = self._permit_key(name)
        while True:
            with self.attached():
                holder = self._attempts.permit(self._attempt, key, limit)
            if holder is None:
                break
            self.check()
            if waiting:
                self.log(f"{waiting} (job {holder})")
                waiting = ""
            self.sleep(TICK)
        try:
            yield
        finally:
            with suppress(redis.exceptions.RedisError):  # it is free when the lease runs out
                self._attempts.release(self._attempt, key)

    @contextmanager
    def try_permit(self, name: str) -> Generator[bool]:
        """Hold the one permit of a name for the block, if it is free; whether it was."""
        key = self._permit_key(name)
        with self.attached():
            held = self._attempts.permit(self._attempt, key, 1) is None
        try:
            yield held
        finally:
            if held:
                with suppress(redis.exceptions.RedisError):
                    self._attempts.release(self._attempt, key)

    def _permit_key(self, name: str) -> str:
        return f"{self.engine.name}:{name}"

    def image_used(self, image_id: str) -> None:
        """Note that a job has just used the image with this ID."""
        with self.attached():
            self.redis.zadd(self._used_key, {image_id: time.time()})

    def images_used(self) -> dict[str, float]:
        """When jobs last used the images of this Engine: seconds since 1970 by image ID."""
        with self.attached():
            pairs: Any = self.redis.zrange(self._used_key, 0, -1, withscores=True)  # pyright: ignore[reportUnknownMemberType]
        return {name.decode(): float(score) for name, score in pairs}

    def images_forgotten(self, *image_ids: str) -> None:
        """Keep no stamp of images that are gone."""
        if image_ids:
            with self.attached():
                self.redis.zrem(self._used_key, *image_ids)

    @property
    def _used_key(self) -> str:
        return f"dockbus:used:{self.engine.name}"

    # -- secrets and files -----------------------------------------------------------------

    def secret(self, name: str) -> str:
        """A secret that the worker has. It is blotted out of the job's log from now on.

        Raises:
            SecretNotFound: the worker does not have it.
        """
        secret = read_secret(self.settings.secrets.dir, name)
        self._redactor.add(secret)
        return secret

    def hide(self, *secrets: str) -> None:
        """Blot these out of the job's log from now on: what a secret was made into."""
        self._redactor.add(*secrets)

    def keep(self, name: str, data: bytes | Iterable[bytes], media_type: str) -> Artefact:
        """Keep a file that the job leaves, as long as its record at least.

        Raises:
            BlobTooLarge: it has too many bytes.
        """
        kept = max(self.settings.bus.result_ttl, self.settings.bus.failure_ttl)
        with self.attached():
            blob = self.blobs.put([data] if isinstance(data, bytes) else data, ttl=kept)
        return Artefact(name=name, media_type=media_type, digest=blob.digest, size=blob.size)

    # -- the job's work -------------------------------------------------------------------

    @property
    def bus_name(self) -> str:
        """The name of this bus, which its containers carry."""
        with self.attached():
            return self._bus.job_store.name()

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

    def read(self, start: Callable[[], Stream[T]]) -> Iterator[T]:
        """The items of an Engine stream that does not wait for anything; between them, the job can be stopped.

        Raises:
            EngineError: the stream could not be had, or broke.
        """
        with closing(start()) as stream:
            for item in stream:
                yield item
                self.check()

    # -- log and progress ------------------------------------------------------------------

    def log(self, text: str, stream: LogStream = "system", stamp: str = "") -> None:
        """Add a line to the job's log; secrets of the job's spec are blotted out."""
        self._write(LogLine(stream=stream, text=self._redactor.redact(text), stamp=stamp))

    def redacted(self, failure: Failure) -> Failure:
        """The failure without secrets of the job's spec."""
        clean = {
            name: self._redactor.redact(getattr(failure, name)) for name in ("detail", "traceback")
        }
        return failure.model_copy(update=clean)

    def progress(self, progress: Progress) -> None:
        """Tell how far the work has come; secrets of the job's spec are blotted out."""
        clean = {
            name: self._redactor.redact(getattr(progress, name)) for name in ("step", "status")
        }
        self._write(progress.model_copy(update=clean))

    def last_stamps(self) -> dict[LogStream, str]:
        """The Engine's timestamp of the last line of each stream that an earlier attempt has logged."""
        with self.attached():
            return self._bus.log(self.job).last_stamps()

    def flush(self) -> None:
        """Write what is buffered.

        Raises:
            Detached: another attempt has the job, or Redis was away for too long.
        """
        if self._buffer:
            written, self._buffer = self._buffer, []
            with self.attached():
                if not self._attempts.log(self._attempt, written):
                    raise Detached("its lease had run out")

    def conclude(self, how: End, value: str) -> None:
        """Note how this attempt is going to end, with what is buffered, before what it has made is removed.

        Raises:
            Detached: another attempt has the job.
        """
        last, self._buffer = self._buffer, []
        if not self._attempts.conclude(self._attempt, how, value, last):
            raise Detached("its lease had run out")

    def _write(self, entry: LogLine | Progress) -> None:
        self._buffer.append(entry)
        if len(self._buffer) >= BATCH:
            self.flush()

    @contextmanager
    def attached(self) -> Generator[None]:
        """Turn a Redis that has been away for too long into `Detached`."""
        try:
            yield
        except (redis.exceptions.RedisError, RedisUnavailable) as error:
            raise Detached(f"Redis does not answer: {error}") from error
