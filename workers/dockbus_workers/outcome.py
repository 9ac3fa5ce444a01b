"""What the end of an attempt means for its job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dockbus.errors import DockbusError, JobCanceled, JobTooNew, WorkerLost
from dockbus.queue import End
from dockbus.records import Failure
from dockbus.retries import RetryPolicy


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    how: End | Literal["retry", "back", "pass"]
    value: str = ""
    """The JSON of the result, or of the failure."""
    pause: float = 0.0
    """Seconds before another attempt."""


def passed_on(reason: JobTooNew, attempt: int) -> Outcome:
    """What becomes of a job that this version does not know: others may take it, after a pause that grows to a minute."""
    kept = Failure.of(reason).model_dump_json(exclude_defaults=True)
    return Outcome("pass", kept, min(60.0, 2.0 ** min(attempt, 6)))


def judge(error: BaseException, failure: Failure, attempt: int, policy: RetryPolicy) -> Outcome:
    """What becomes of a job when that attempt (1 is the first) raised this, of which `failure` is kept.

    Errors say of themselves whether they may pass (`retryable`). What is none of ours is a bug, which is
    tried again too: most bugs in a program that talks to others are about an answer that comes once.
    """
    if isinstance(error, JobCanceled):
        return Outcome("canceled")
    kept = failure.model_dump_json(exclude_defaults=True)
    if isinstance(error, WorkerLost):  # it is what is left of the last attempt: there is no other
        return Outcome("dead", kept)
    if isinstance(error, DockbusError) and not error.retryable:
        return Outcome("failed", kept)
    if attempt > policy.max:
        return Outcome("dead", kept)
    least = error.pause if isinstance(error, DockbusError) else 0.0
    return Outcome("retry", kept, min(policy.cap, least + policy.pause(attempt)))
