"""The jobs of a bus, as a producer sees them: add, look at, cancel."""

# redis-py's own annotations are partial; what comes from it is checked where it is parsed.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import json
import math
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from pydantic import ValidationError
from redis import Redis
from redis.exceptions import ResponseError

from dockbus import tracing
from dockbus.errors import DockbusError, JobNotCancelable, JobNotFound, JobRefused, KeyConflict
from dockbus.ids import JobId
from dockbus.jobs import Queue, Spec, parse_result
from dockbus.orders import Order
from dockbus.queue.keys import (
    BUS,
    INDEX,
    RQ,
    job_key,
    queue_key,
    queue_name,
    registry_key,
    workers_key,
)
from dockbus.queue.scripts import Argument, Scripts, now
from dockbus.records import Failure, JobRecord, JobState, QueueRecord
from dockbus.settings import BusSettings
from dockbus.signing import pack, sign, verify

BULK = 1000
"""Jobs that are put on the bus in one round trip."""

_STATES = {
    "queued": JobState.QUEUED,
    "started": JobState.STARTED,
    "scheduled": JobState.SCHEDULED,
    "deferred": JobState.WAITING,
    "finished": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
    "canceled": JobState.CANCELED,
}


class Jobs:
    """The jobs of one bus.

    Args:
        redis: where they are.
        keys: the bus's keys, newest first: the first signs, any may have signed.
        kept: how long what is kept.
    """

    def __init__(self, redis: Redis, keys: Sequence[bytes], kept: BusSettings) -> None:
        self._redis = redis
        self._keys = keys
        self._kept = kept
        self._scripts = Scripts(redis, keep=kept.events)
        self._name = ""

    # -- adding ----------------------------------------------------------------------------

    def add(self, orders: Sequence[Order], ids: Sequence[JobId] = ()) -> list[JobId]:
        """Put jobs on the bus, a thousand in one round trip; each wholly or not at all.

        Args:
            orders: what to do.
            ids: what `identify` has said of each, where somebody had to know before.

        Raises:
            InvalidSpec: one is too large; none was put on the bus.
            JobNotFound: a job that one of them waits for is not there; the others are on the bus.
            KeyConflict: a key belongs to a job with another spec; the others are on the bus.
        """
        packed = [pack(order, self._expiry(order)) for order in orders]
        named = list(ids) or [self.identify(order) for order in orders]
        wrong: list[DockbusError] = []
        with tracing.enqueuing(named, orders):
            for first in range(0, len(orders), BULK):
                todo = list(range(first, min(first + BULK, len(orders))))
                while todo:
                    todo = self._add(todo, orders, packed, named, wrong)
            if wrong:
                raise wrong[0]
        return named

    def _add(
        self,
        todo: list[int],
        orders: Sequence[Order],
        packed: Sequence[bytes],
        ids: list[JobId],
        wrong: list[DockbusError],
    ) -> list[int]:
        """Add those of `orders`; says which have to be added again, since Redis was emptied meanwhile."""
        calls: list[Sequence[Argument]] = []
        made = now()
        for i in todo:
            order = orders[i]
            fields = self._fields(ids[i], order, packed[i], made)
            bus = self.name() if order.key else ""
            calls.append((bus, ids[i], order.delay, ",".join(order.after), *fields))
        again: list[int] = []
        for i, answer in zip(todo, self._scripts.run_many("add", calls), strict=True):
            if isinstance(answer, Exception):
                raise answer
            if answer == b"other-bus":
                self._name = ""
                ids[i] = self.identify(orders[i])
                again.append(i)
            elif answer == b"exists":
                if not self._is_same(ids[i], orders[i]):
                    wrong.append(KeyConflict(f"{orders[i].key!r} is job {ids[i]}"))
            elif answer != b"new":
                wrong.append(JobNotFound(answer.decode().partition(" ")[2]))
        return again

    def identify(self, order: Order) -> JobId:
        """The ID for a job: made from its key and the bus' name where it has a key, else at random."""
        if not order.key:
            return JobId(token_hex(8))
        digest = hashlib.sha256(f"{self.name()} {order.key}".encode()).hexdigest()
        return JobId(f"k-{digest[:20]}")

    def name(self) -> str:
        """The name of this bus, which tells its keys and containers from another's."""
        return self._name or self.learn_name()

    def learn_name(self) -> str:
        """The same, asked for anew: a Redis that was emptied is another bus."""
        self._redis.set(BUS, token_hex(8), nx=True)
        self._name = str(self._redis.get(BUS), "ascii")  # type: ignore[arg-type]
        return self._name

    def _fields(self, job_id: JobId, order: Order, data: bytes, made: str) -> list[Argument]:
        """The record of a new job, field by field: first what RQ's tools read, then what is ours."""
        kind = order.spec.kind.value
        fields: dict[str, Argument] = {
            "created_at": made,
            "data": zlib.compress(data, 1),
            "origin": queue_name(order.spec.kind.queue, order.engine),
            "description": kind,
            "timeout": math.ceil(order.limit),
            "result_ttl": self._kept.result_ttl,
            "failure_ttl": self._kept.failure_ttl,
            "sig": sign(self._keys[0], job_id, data),
            "tries": order.policy.max + 1,
            "facts": json.dumps({"kind": kind} | _about(order.spec)),
            **tracing.carried(),
        }
        if order.priority == "high":
            fields["front"] = 1
        if order.exclusive:
            fields["exclusive"] = order.exclusive
        if order.after:
            fields["after"] = ",".join(order.after)
            fields["after_failure"] = order.after_failure
        return [part for pair in fields.items() for part in pair]

    def _expiry(self, order: Order) -> int:
        return math.ceil(time.time() + order.delay + self._kept.job_ttl)

    def _is_same(self, job_id: JobId, order: Order) -> bool:
        """Whether that job is of this order's spec; one that is gone again does no harm."""
        try:
            there = self.get(job_id)
        except JobNotFound:
            return True
        return there.spec is not None and there.spec.digest() == order.spec.digest()

    # -- looking ---------------------------------------------------------------------------

    def get(self, job_id: JobId) -> JobRecord:
        """The record of a job.

        Raises:
            JobNotFound: there is none, or no longer.
        """
        try:
            raw: Any = self._redis.hgetall(job_key(job_id))
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            raw = {}  # something else has its key
        if b"data" not in raw:
            raise JobNotFound(job_id)
        return self._record(job_id, raw)

    def newest(
        self, *, limit: int, offset: int = 0, states: Collection[JobState] = ()
    ) -> list[JobRecord]:
        """Records of the newest jobs, newest first; with `states`, of those in one of them."""
        if not states:
            return self._page(offset, limit) if limit > 0 else []
        found: list[JobRecord] = []
        place = 0
        while len(found) < offset + limit and place < int(self._redis.zcard(INDEX)):
            found += [record for record in self._page(place, BULK) if record.state in states]
            place += BULK
        return found[offset : offset + limit]

    def _page(self, offset: int, limit: int) -> list[JobRecord]:
        raws: Any = self._redis.zrevrange(INDEX, offset, offset + limit - 1)
        ids = [JobId(raw.decode("utf-8", "replace")) for raw in raws]
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hgetall(job_key(job_id))
            found: list[Any] = pipe.execute(raise_on_error=False)
        return [
            self._record(job_id, raw)
            for job_id, raw in zip(ids, found, strict=True)
            if isinstance(raw, dict) and b"data" in raw  # neither an error nor no longer kept
        ]

    def unended(self, engine: str) -> dict[JobId, bool]:
        """The jobs that have not ended and may come to this Engine, and whether each is being carried out."""
        names = [queue_name(queue, name) for queue in Queue for name in (None, engine)]
        with self._redis.pipeline(transaction=True) as pipe:
            for name in names:
                pipe.lrange(queue_key(name), 0, -1)
                for registry in ("wip", "scheduled", "deferred"):
                    pipe.zrange(registry_key(registry, name), 0, -1)
            found: list[Any] = pipe.execute()
        # A job that is being carried out stands there as ID:TOKEN.
        entries = [raw.decode("utf-8", "replace").partition(":") for raws in found for raw in raws]
        return {JobId(job_id): bool(colon) for job_id, colon, _ in entries}

    def orders(self, ids: Collection[JobId]) -> dict[JobId, Order]:
        """What these jobs are to do; those that are gone or not to be trusted are left out."""
        todo, found = list(ids), dict[JobId, Order]()
        for first in range(0, len(todo), BULK):
            part = todo[first : first + BULK]
            with self._redis.pipeline(transaction=False) as pipe:
                for job_id in part:
                    pipe.hgetall(job_key(job_id))
                raws: list[Any] = pipe.execute(raise_on_error=False)
            for job_id, raw in zip(part, raws, strict=True):
                if isinstance(raw, dict):
                    with suppress(JobRefused):
                        found[job_id] = verify(self._keys, job_id, decoded(raw))
        return found

    def queues(self) -> list[QueueRecord]:
        """All queues that have ever had a job, and those for any Engine."""
        known: Any = self._redis.smembers(f"{RQ}:queues")
        prefix = queue_key("")
        names = {raw.decode("utf-8", "replace").removeprefix(prefix) for raw in known}
        return [self._queue(name) for name in sorted(names | {queue.value for queue in Queue})]

    def _queue(self, name: str) -> QueueRecord:
        # Plain counts: RQ's own ways to ask would fail or retry jobs as a side effect of looking.
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.llen(queue_key(name))
            for registry in ("wip", "scheduled", "deferred", "failed"):
                pipe.zcard(registry_key(registry, name))
            pipe.smembers(workers_key(name))
            queued, started, scheduled, waiting, failed, workers = pipe.execute()
        return QueueRecord(
            name=name,
            queued=queued,
            started=started,
            scheduled=scheduled,
            waiting=waiting,
            failed=failed,
            workers=int(self._redis.exists(*workers)) if workers else 0,
        )

    def _record(self, job_id: JobId, raw: Mapping[bytes, bytes]) -> JobRecord:
        fields = decoded(raw)
        text = {
            name: value.decode("utf-8", "replace")
            for name, value in fields.items()
            if name != "data"
        }
        order, refusal, result, error = None, None, None, None
        try:
            order = verify(self._keys, job_id, fields)
        except JobRefused as refused:
            refusal = Failure.of(refused)
        state = _STATES.get(text.get("status", ""), JobState.FAILED)
        if state is JobState.FAILED and text.get("dead"):
            state = JobState.DEAD
        if (
            order
        ):  # nothing else in the record is signed: it is taken for what it says where it can be
            with suppress(ValidationError, KeyError):
                result = parse_result(text["value"]) if state is JobState.SUCCEEDED else None
            with suppress(ValidationError, KeyError):
                kept = Failure.model_validate_json(text["error"])
                error = kept if state is not JobState.SUCCEEDED else None
        return JobRecord(
            id=job_id,
            kind=order.spec.kind if order else None,
            state=state,
            queue=text.get("origin", ""),
            spec=order.spec if order else None,
            terms=order,
            result=result,
            error=refusal or error,
            attempts=_number(text, "attempts"),
            created=_moment(text, "created_at") or datetime.fromtimestamp(0, UTC),
            due=_due(text) if state is JobState.SCHEDULED else None,
            started=_moment(text, "started_at"),
            ended=_moment(text, "ended_at"),
            worker=text.get("worker_name"),
            engine=text.get("engine"),
        )

    # -- canceling -------------------------------------------------------------------------

    def cancel(self, job_id: JobId) -> None:
        """Cancel a job: at once where nothing of it is anywhere, else by asking its worker to stop it.

        Raises:
            JobNotFound: there is none.
            JobNotCancelable: it has ended.
        """
        answer = self._scripts.run("cancel", job_id)
        if answer == b"missing":
            raise JobNotFound(job_id)
        if answer == b"ended":
            raise JobNotCancelable(f"job {job_id} {self.get(job_id).state.value}")


def _about(spec: Spec) -> dict[str, str]:
    """What a job's events say of what it is about."""
    fields = {name: getattr(spec, name, None) for name in ("image", "container")}
    return {name: value for name, value in fields.items() if value}


def decoded(raw: Mapping[bytes, bytes]) -> dict[str, bytes]:
    """A record with its fields' names as text."""
    return {name.decode("utf-8", "replace"): value for name, value in raw.items()}


def _moment(text: Mapping[str, str], field: str) -> datetime | None:
    with suppress(ValueError, KeyError):
        return datetime.fromisoformat(text[field]).astimezone(UTC)
    return None


def _due(text: Mapping[str, str]) -> datetime | None:
    with suppress(ValueError, KeyError, OverflowError):
        return datetime.fromtimestamp(float(text["due"]), UTC)
    return None


def _number(text: Mapping[str, str], field: str) -> int:
    value = text.get(field, "")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else 0
