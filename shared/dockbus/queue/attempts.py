"""Attempts at jobs, as a worker makes them. A job's token counts its attempts: only the newest may change anything.

An attempt is a lease. Its worker renews it while the job runs; where it is not renewed, the job goes back
to its queue and its next attempt has another token. Whatever the first one still has to say, if it lives
after all, is not heard any more.
"""

# redis-py's own annotations are partial.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from redis import Redis

from dockbus.errors import JobError
from dockbus.ids import JobId
from dockbus.joblog import LogLine, Progress, encode
from dockbus.orders import Order
from dockbus.queue.keys import RQ, queue_key
from dockbus.queue.scripts import Argument, Scripts
from dockbus.queue.store import decoded
from dockbus.settings import BusSettings
from dockbus.signing import admit
from dockbus.tally import flat
from dockbus.tracing import CARRIED

End = Literal["succeeded", "failed", "dead", "canceled"]
"""How an attempt ends its job."""
Verdict = Literal["go-on", "cancel", "lost", "superseded"]


@dataclass
class Attempt:
    """One attempt at one job."""

    job: JobId
    token: str
    number: int
    """1 for the job's first."""
    order: Order | JobError
    """What to do, or why it must not be done."""
    seal: str
    """The beginning of the job's signature, which no other order has."""
    verdict: Verdict = "go-on"
    """What the bus last said of it."""
    traced: Mapping[str, str] = field(default_factory=dict[str, str])
    """The trace that it is part of, as `dockbus.tracing` has it."""
    concluded: tuple[End, str] | None = None
    """How an earlier attempt had ended, and with what, when its worker died clearing away what it left."""
    counts: Mapping[str, float] = field(default_factory=dict[str, float], repr=False)
    """What the tally is raised by when it is settled, for what it has done."""
    batch: int = field(default=0, repr=False)
    """How many batches of log lines it has written."""


class Attempts:
    """What workers ask of Redis. Every call is one script, and may be repeated when its answer was lost."""

    def __init__(
        self, redis: Redis, keys: Sequence[bytes], kept: BusSettings, *, lease: float
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._kept = kept
        self._lease = lease
        self._scripts = Scripts(redis, keep=kept.events)

    def wait(self, queue: str, seconds: float) -> bool:
        """Wait until the queue has something, `seconds` at most; whether it has.

        Nothing is taken: its head is moved to its head.
        """
        key = queue_key(queue)
        return self._redis.blmove(key, key, seconds, "LEFT", "LEFT") is not None  # type: ignore[arg-type]

    def take(
        self, queue: str, *, engine: str, worker: str, most: int
    ) -> tuple[list[Attempt], list[JobId]]:
        """Begin attempts at the next jobs of a queue; also tells which entries were dropped, since they are no queued jobs.

        Once this returns, or the worker has died before it could, each of the jobs is leased to the worker.
        """
        answer: list[Any] = self._scripts.run("take", queue, engine, worker, self._lease, most)
        begun: list[Attempt] = []
        dropped: list[JobId] = []
        for raw_id, token, pairs in zip(answer[::3], answer[1::3], answer[2::3], strict=True):
            job = JobId(raw_id.decode("utf-8", "replace"))
            if not token:
                dropped.append(job)
                continue
            fields = decoded(dict(zip(pairs[::2], pairs[1::2], strict=True)))
            order: Order | JobError
            try:
                order = admit(self._keys, job, fields)
            except JobError as refusal:
                order = refusal
            begun.append(
                Attempt(
                    job=job,
                    token=token.decode(),
                    number=int(fields["attempts"]),
                    order=order,
                    seal=fields.get("sig", b"")[:16].decode("ascii", "replace"),
                    verdict=_verdict(fields),
                    concluded=_concluded(fields),
                    traced={
                        n: fields[n].decode("ascii", "replace") for n in CARRIED if n in fields
                    },
                )
            )
        return begun, dropped

    def pulse(self, queue: str, attempts: Sequence[Attempt]) -> None:
        """Renew the leases of running attempts, and note on each what the bus says of it."""
        pairs = [part for attempt in attempts for part in (attempt.job, attempt.token)]
        for attempt, verdict in zip(
            attempts, self._scripts.run("pulse", queue, self._lease, *pairs), strict=True
        ):
            attempt.verdict = verdict.decode()

    def claim(self, attempt: Attempt, *, engine: str = "", anew: bool = False) -> bool:
        """Whether the attempt is still its job's. With `engine`, further ones are made there only.

        With `anew`, they may begin anew elsewhere if that Engine is lost, unless the order names it.
        """
        sent = (attempt.job, attempt.token, engine, "1" if anew else "")
        return self._heard(attempt, self._scripts.run("claim", *sent))

    def log(self, attempt: Attempt, entries: Sequence[LogLine | Progress]) -> bool:
        """Append to the job's log; False where the attempt is superseded."""
        sent = (attempt.job, attempt.token, *self._lines(attempt, entries))
        return self._heard(attempt, self._scripts.run("log", *sent))

    def conclude(
        self, attempt: Attempt, how: End, value: str, last: Sequence[LogLine | Progress] = ()
    ) -> bool:
        """Note how the attempt is going to end, before anything it made is removed; False where it is superseded.

        With it go the `last` entries of the job's log.
        """
        sent = (attempt.job, attempt.token, how, value, *self._lines(attempt, last))
        return self._heard(attempt, self._scripts.run("conclude", *sent))

    def _lines(self, attempt: Attempt, entries: Sequence[LogLine | Progress]) -> list[Argument]:
        """A batch of entries as the scripts take it."""
        attempt.batch += 1
        sent: list[Argument] = [attempt.batch, self._kept.log_lines]
        for entry in entries:
            pairs = [part for pair in encode(entry).items() for part in pair]
            sent += [len(pairs), *pairs]
        return sent

    def permit(self, attempt: Attempt, name: str, limit: int) -> JobId | None:
        """Ask for one of `limit` permits of a name; None if the attempt has it now, else a job that has one.

        It lasts as long as the attempt, or until it is released.
        """
        answer = self._scripts.run("permit", attempt.job, attempt.token, name, limit)
        if isinstance(answer, bytes):
            return JobId(answer.decode())
        return None if self._heard(attempt, answer) else attempt.job

    def release(self, attempt: Attempt, name: str) -> None:
        """Give a permit back."""
        self._scripts.run("release", attempt.job, attempt.token, name)

    def settle(
        self,
        attempt: Attempt,
        how: End | Literal["retry", "back", "pass"],
        value: str = "",
        *,
        worker: str,
        took: float,
        idle: bool,
        pause: float = 0.0,
    ) -> bool:
        """End the attempt, and with it perhaps its job; False where it is superseded.

        Args:
            attempt: which.
            how: what becomes of the job; `back` puts it in front of its queue, `pass` schedules it for another worker;
                neither counts the attempt.
            value: the JSON of the result, or of the failure.
            worker: whose counters to add to.
            took: seconds.
            idle: whether the worker has nothing else to do.
            pause: seconds before a `retry`, or after a `pass`.
        """
        end = (attempt.job, attempt.token, how, value, worker, took, "1" if idle else "", pause)
        sent: tuple[Argument, ...] = (*end, *flat(attempt.counts))
        return self._heard(attempt, self._scripts.run("settle", *sent))

    def due(self, queue: str) -> int:
        """Queue the scheduled jobs whose time has come; how many."""
        return int(self._scripts.run("due", queue))

    def reap(self, queue: str) -> list[JobId]:
        """Put the jobs whose lease has run out back on their queue; which."""
        return [JobId(raw.decode("utf-8", "replace")) for raw in self._scripts.run("reap", queue)]

    def engines(self, queue: str) -> list[str]:
        """The Engines that have had a queue of their own beside this one, in the order of their names."""
        known: Any = self._redis.smembers(f"{RQ}:queues")
        own = queue_key(f"{queue}@").encode()
        return sorted(k[len(own) :].decode("utf-8", "replace") for k in known if k.startswith(own))

    def begin_anew(self, queue: str) -> list[JobId]:
        """Send jobs that have begun on an Engine that is lost from its queue to the one that all share; which."""
        return [JobId(raw.decode("utf-8", "replace")) for raw in self._scripts.run("anew", queue)]

    def mend(self) -> list[JobId]:
        """Forget some of the jobs that are no longer kept, and queue again some that have fallen out of their queue.

        It looks at a hundred jobs picked at random; called now and then, it finds them all.
        """
        return [JobId(raw.decode("utf-8", "replace")) for raw in self._scripts.run("mend")]

    def _heard(self, attempt: Attempt, answer: int) -> bool:
        if not answer:
            attempt.verdict = "superseded"
        return bool(answer)


def _verdict(fields: Mapping[str, bytes]) -> Verdict:
    if "lost" in fields:
        return "lost"
    return "cancel" if "cancel" in fields else "go-on"


def _concluded(fields: Mapping[str, bytes]) -> tuple[End, str] | None:
    how = fields.get("how", b"").decode("utf-8", "replace")
    if how not in get_args(End):
        return None
    return cast("End", how), fields.get("outcome", b"").decode("utf-8", "replace")
