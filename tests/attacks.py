"""What somebody who can write to Redis, and does not have the key, may put there."""

from __future__ import annotations

import json
import pickle
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dockbus import Bus, Cleanup, JobHandle, JobState, Order
from dockbus.ids import JobId
from dockbus.signing import pack, sign
from processes import Program
from waiting import wait_for

Fields = dict[str, bytes | str | int]

SPEC = Cleanup(labels={"dockbus.test.nobody": "has this"})
EVIL = "os.system"
FAR = 2**32
"""A second of the epoch that is far away."""


class Boom:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[list[str]]]:
        return subprocess.check_call, (["touch", str(self.mark)],)


def _honest() -> bytes:
    return pack(Order(spec=SPEC), FAR)


def _signed(signature: str | bytes) -> Fields:
    """An honest order with somebody's signature."""
    return {"data": zlib.compress(_honest()), "sig": signature}


FORGERIES: dict[str, Callable[[JobId, Path], Fields]] = {
    "pickled data": lambda _job, mark: {"data": pickle.dumps(Boom(mark))},
    "compressed pickle": lambda job, mark: {
        "data": zlib.compress(boom := pickle.dumps(Boom(mark))),
        "sig": sign(b"guess", job, boom),
    },
    "dotted path": lambda _job, mark: {
        "data": zlib.compress(json.dumps([EVIL, None, [f"touch {mark}"], {}]).encode())
    },
    "dotted path in plain text": lambda _job, mark: {
        "data": json.dumps([EVIL, None, [f"touch {mark}"], {}])
    },
    "string instance": lambda _job, _mark: {
        "data": zlib.compress(json.dumps(["format", "{0.__class__}", [1], {}]).encode())
    },
    "no signature": lambda _job, _mark: {"data": zlib.compress(_honest())},
    "an empty signature": lambda _job, _mark: _signed(""),
    "a signature of zeros": lambda _job, _mark: _signed("0" * 64),
    "a signature that is no text": lambda _job, _mark: _signed(b"\xff" * 64),
    "signed with another key": lambda job, _mark: _signed(sign(b"another", job, _honest())),
    "signed with no key": lambda job, _mark: _signed(sign(b"", job, _honest())),
    "no data to speak of": lambda _job, _mark: {"data": b""},
    "half the data": lambda _job, _mark: {"data": zlib.compress(_honest())[:40]},
    "a bomb": lambda _job, _mark: {"data": zlib.compress(b" " * 200_000_000)},
}
"""Jobs that nobody with the key has written: what makes their records, of an ID and the file they are to touch."""

MALFORMED: list[tuple[str, bytes | str]] = [
    ("attempts", "many"),
    ("attempts", "1.5"),
    ("attempts", "nan"),
    ("attempts", "-1e300"),
    ("attempts", "1e300"),
    ("attempts", "9" * 5000),
    ("token", "x"),
    ("token", "-1.5"),
    ("token", "1e15"),
    ("tries", "nan"),
    ("tries", "-5"),
    ("result_ttl", "x"),
    ("result_ttl", "1.5"),
    ("result_ttl", "1e300"),
    ("timeout", "soon"),
    ("due", "soon"),
    ("created_at", "yesterday"),
    ("facts", "{"),
    ("facts", "[1, null]"),
    ("facts", '{"a": 1e999}'),
    ("facts", '{"a": ' + "[" * 999 + "]" * 999 + "}"),
    ("origin", b"\xff\xfe"),
    ("exclusive", b"\xff"),
    ("parents", "x"),
    ("how", "bogus"),
    ("value", "{"),
    ("error", "{"),
    ("dependency_ids", "{"),
    ("worker_name", b"\xff"),
]
"""What an honest job's record may be spoiled with: field and value."""


def key_of(bus: Bus) -> bytes:
    return bus.settings.bus.key.get_secret_value().encode()


def plant(redis: Any, job: str, fields: Fields) -> None:
    """A job as somebody else would put it on the queue."""
    base = {"created_at": "2026-01-01T00:00:00.000000Z", "origin": "cleanup", "status": "queued"}
    redis.hset(f"rq:job:{job}", mapping={**base, "timeout": 30, **fields})
    redis.rpush("rq:queue:cleanup", job)


def tamper(redis: Any, job: JobHandle, fields: Fields) -> None:
    """Change an honest job, which waits where no worker looks, and have it taken with an honest one behind it."""
    redis.hset(f"rq:job:{job.id}", mapping={"status": "queued", **fields})
    redis.rpush("rq:queue:cleanup", job.id)


def assert_refused(bus: Bus, worker: Program, job: str, code: str = "job-refused") -> None:
    """Wait until Redis' own record of the job says failed; our reading of it and the worker's log say why."""
    wait_for(
        lambda: bus.redis.hget(f"rq:job:{job}", "status") == b"failed", 60, "the job to have failed"
    )
    record = bus.job(job).refresh()
    assert record.state is JobState.FAILED
    assert record.error is not None
    assert record.error.code == code
    assert record.result is None
    wait_for(
        lambda: any(
            "ERROR" in line and job in line for line in worker.log.read_text().splitlines()
        ),
        30,
        "an error in the worker's log",
    )
