"""The state of a bus into a file (`backup_file`), and back into a Redis.

A backup shows one moment: while keys are read, Redis lets all others wait with what they write. What does not change
any more (jobs that have ended, files of jobs) is read afterwards, so that they wait less. A restore is staged beside
what is there and takes its place in one step: whoever is killed in between has changed nothing.
"""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from dockbus.backup_file import Backup, BackupFailed, BackupRefused, Draft, Entry, reading, writing
from dockbus.blobs import PIECE
from dockbus.bus import Bus
from dockbus.connection import reachable
from dockbus.errors import DockbusError, RedisUnavailable
from dockbus.ids import JobId
from dockbus.joblog import KEY as LOG
from dockbus.queue.keys import RQ, job_key, registry_key
from dockbus.queue.scripts import Argument, Scripts

OURS = (b"dockbus:", f"{RQ}:".encode())
"""How the keys of a bus begin."""
STAGE = b"dockbus:restoring:"
BLOB = b"dockbus:blob:"
JOB = job_key(JobId("")).encode()
HOLD = 5.0
"""Seconds for which Redis is told to let others wait, again and again; if this process dies, no longer than that."""
PAGE = 500
"""Keys read or written in one round trip."""
BUSY = 600.0
"""Seconds that Redis gets for the one step of a restore."""
STAGED = 3600
"""Seconds for which what is staged stays, if nobody comes to its end."""


class BusNotEmpty(DockbusError):
    """This Redis has a bus already, so nothing was restored.

    To have all of it replaced: `dockbus restore FILE --replace`.
    """


def back_up(bus: Bus, file: Path) -> Backup:
    """Write the state of a bus, which goes on meanwhile, into a file that only its owner can read.

    Args:
        bus: which.
        file: it is replaced when the backup is whole.

    Raises:
        BackupFailed: Redis does not hold still, or the file cannot be written.
        RedisUnavailable: Redis does not answer.
    """
    with reachable(), writing(file) as draft:
        return _read(bus, draft)


def restore(bus: Bus, file: Path, *, replace: bool = False) -> tuple[Backup, int]:
    """Bring the bus into the state that a backup shows: wholly or not at all.

    Jobs that had begun are queued again, and that attempt does not count. What other programs keep in this Redis stays.

    Args:
        bus: where to.
        file: the backup.
        replace: whether to do so where a bus is already; all that is there then goes.

    Returns:
        What the backup is, and how many of its jobs had begun.

    Raises:
        BackupRefused: it is no backup, it is not whole, it is another bus' or this Redis is too old for it.
        BusNotEmpty: there is a bus.
        RedisUnavailable: Redis does not answer.
    """
    stage = STAGE + token_hex(8).encode() + b":"
    with reachable(), reading(file, bus.settings.bus_keys()) as (backup, entries):
        if not replace and any(_pages(bus.redis, belongs)):
            raise BusNotEmpty
        try:
            staged = sum(_stage(bus.redis, stage, page) for page in _paged(entries))
        except RedisError as error:
            with suppress(RedisError):
                for names in _pages(bus.redis, lambda name: name.startswith(stage)):
                    bus.redis.unlink(*names)
            if "DUMP payload" not in str(error):
                raise
            words = f"this Redis is older than that of the backup, {backup.redis}"
            raise BackupRefused(words) from None
        answer = _put_in_place(bus, stage, staged, "1" if replace else "")
    if answer == b"not-empty":
        raise BusNotEmpty
    if answer == b"incomplete":
        raise RedisUnavailable("it has lost what was staged; was it emptied meanwhile?")
    return backup, int(answer)


def _put_in_place(bus: Bus, *arguments: Argument) -> Any:  # noqa: ANN401  as the script answers
    """Run the script, whose answer may be lost: with many keys Redis is busy for longer than anybody waits for one."""
    scripts = Scripts(bus.redis, keep=bus.settings.bus.events)
    end = time.monotonic() + BUSY
    while True:
        try:
            with reachable():
                return scripts.run("restore", *arguments)
        except RedisUnavailable:
            if time.monotonic() > end:
                raise
            time.sleep(1.0)


# -- reading -------------------------------------------------------------------------------


def _read(bus: Bus, draft: Draft) -> Backup:
    redis = bus.redis
    server: Any = redis.info("server")
    names: list[bytes] = []
    begun = time.monotonic()
    with _stillness(redis) as hold:
        made: Any = redis.time()
        ended = _ended(bus, made[0])
        for keys in _pages(redis, belongs):
            hold()
            names += keys
            _copy(redis, [key for key in keys if not (key in ended or key.startswith(BLOB))], draft)
        hold()
    held = time.monotonic() - begun
    over = [key for key in names if key in ended]
    for first in range(0, len(over), PAGE):
        _copy(redis, over[first : first + PAGE], draft)
    for key in names:
        if key.startswith(BLOB):  # which may be large
            _copy(redis, [key], draft)
    now: Any = redis.info("server")
    if now["run_id"] != server["run_id"]:
        raise BackupFailed("Redis was restarted meanwhile")
    about = Backup(
        version=version("dockbus"),
        redis=server["redis_version"],
        made=datetime.fromtimestamp(made[0], UTC),
        jobs=_jobs(names),
        unended=_jobs(names) - _jobs(over),
        held=round(held, 3),
    )
    return draft.seal(about, bus.settings.bus_key())


@contextmanager
def _stillness(redis: Redis) -> Generator[Callable[[], None]]:
    """Nobody else changes anything while the block runs, which has to call what it gets every second or so.

    Raises:
        BackupFailed: Redis does not do that, or somebody may have changed something.
    """
    asked = time.monotonic()

    def hold() -> None:
        nonlocal asked
        now = time.monotonic()
        if now - asked > HOLD:
            raise BackupFailed(f"Redis took {now - asked:.0f} s for one answer")
        if now - asked > HOLD / 2:
            redis.client_pause(round(HOLD * 1000), all=False)
            asked = now

    try:
        redis.client_pause(round(HOLD * 1000), all=False)
        yield hold
    except ResponseError as error:
        if "unknown" not in str(error).lower():
            raise
        raise BackupFailed(f"this Redis has no CLIENT PAUSE ({error})") from None
    finally:
        with suppress(RedisError):
            redis.client_unpause()


def _ended(bus: Bus, now: int) -> set[bytes]:
    """The records and logs of all jobs that have ended: nothing changes them any more."""
    found: set[bytes] = set()
    for queue in bus.queues():
        for name in ("finished", "failed", "canceled"):
            ids: Any = bus.redis.zrangebyscore(registry_key(name, queue.name), now, "+inf")
            found |= {prefix + job for job in ids for prefix in (JOB, LOG.encode())}
    return found


def _pages(redis: Redis, wanted: Callable[[bytes], bool]) -> Iterator[list[bytes]]:
    """The names of all keys that are wanted, once each."""
    seen: set[bytes] = set()
    cursor = 0
    while True:
        answer: Any = redis.scan(cursor, count=PAGE)
        cursor, keys = answer
        new = {key for key in keys if wanted(key)} - seen
        seen |= new
        if new:
            yield list(new)
        if not cursor:
            return


def belongs(key: bytes) -> bool:
    """Whether a key is part of a bus' state."""
    return key.startswith(OURS) and not key.startswith(STAGE)


def _copy(redis: Redis, keys: Sequence[bytes], draft: Draft) -> None:
    """Put these keys into the draft, as far as they are still there."""
    with redis.pipeline(transaction=False) as pipe:
        pipe.time()
        for key in keys:
            pipe.pttl(key)
            pipe.dump(key)
        (seconds, micros), *found = pipe.execute()
    now = seconds * 1000 + micros // 1000
    for key, left, dump in zip(keys, found[::2], found[1::2], strict=True):
        if dump is not None:
            draft.add(Entry(key, now + left if left >= 0 else 0, dump))


def _jobs(names: Sequence[bytes]) -> int:
    return sum(name.startswith(JOB) for name in names)


# -- writing -------------------------------------------------------------------------------


def _paged(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    """The entries in groups of one round trip each: so many, or so many bytes."""
    page: list[Entry] = []
    size = 0
    for entry in entries:
        page.append(entry)
        size += len(entry.dump)
        if len(page) == PAGE or size > PIECE:
            yield page
            page, size = [], 0
    if page:
        yield page


def _stage(redis: Redis, stage: bytes, page: list[Entry]) -> int:
    """Put keys beside what is there, those that have expired excepted; how many."""
    now: Any = redis.time()
    alive = [entry for entry in page if not 0 < entry.expires <= now[0] * 1000]
    end = (now[0] + STAGED) * 1000
    with redis.pipeline(transaction=False) as pipe:
        for entry in alive:
            name = stage + f"{entry.expires}:".encode() + entry.name
            pipe.restore(name, end, entry.dump, replace=True, absttl=True)
        pipe.execute()
    return len(alive)
