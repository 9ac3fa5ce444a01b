"""What the bus knows of a job and of a queue, for whoever asks; built by `dockbus.queue`, shown everywhere."""

from __future__ import annotations

import traceback
from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict

from dockbus.errors import DockbusError, JobRefused, JobTooNew, sentence
from dockbus.ids import JobId
from dockbus.jobs import Kind, Result, Spec
from dockbus.orders import Terms


class JobState(StrEnum):
    """Where a job is in its life."""

    WAITING = "waiting"
    """For other jobs to end."""
    SCHEDULED = "scheduled"
    """For its time to come: a delay, or the pause before another attempt."""
    QUEUED = "queued"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """For a reason that another attempt would meet again."""
    DEAD = "dead"
    """Its attempts are used up; `replay` orders the same again."""
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self in _ENDED


_ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.DEAD, JobState.CANCELED)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


TRACEBACK = 4000
"""Characters of a traceback that are kept, the last ones."""


class Failure(_Record):
    """Why an attempt failed."""

    code: str
    """Stable name of the error, such as `image-not-found`; `bug` where dockbus did not expect it."""
    title: str
    detail: str = ""
    advice: str = ""
    traceback: str = ""
    """Where dockbus did not expect it: the innermost frames."""

    def __str__(self) -> str:
        return sentence(self.title, self.detail, self.advice)

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """What to remember of an exception."""
        if isinstance(error, DockbusError):
            return cls(code=error.code, title=error.title, detail=error.detail, advice=error.advice)
        return cls(
            code="bug",
            title="dockbus has a bug.",
            detail=" ".join(f"{type(error).__name__}: {error}".split()),
            advice="Its traceback is in the job's record and in the worker's log; please report it.",
            traceback="".join(traceback.format_exception(error))[-TRACEBACK:],
        )


class JobRecord(_Record):
    """One job, as it stands."""

    id: JobId
    kind: Kind | None
    """None only where the record in Redis cannot be trusted or read."""
    state: JobState
    queue: str
    spec: Spec | None
    terms: Terms | None = None
    """How it was ordered. None where `kind` is."""
    result: Result | None = None
    error: Failure | None = None
    attempts: int = 0
    """Attempts begun so far."""
    created: datetime
    due: datetime | None = None
    """When a scheduled job is queued."""
    started: datetime | None = None
    """Begin of the latest attempt."""
    ended: datetime | None = None
    worker: str | None = None
    """Worker of the latest attempt."""
    engine: str | None = None
    """The Engine on which it has a container, or had one."""

    @property
    def duration(self) -> float | None:
        """Seconds from the start of the latest attempt to its end, if it has one."""
        return (self.ended - self.started).total_seconds() if self.started and self.ended else None

    def refusal(self) -> JobRefused:
        """What to raise where its spec is needed and there is none."""
        error = self.error or Failure.of(JobRefused(self.id))
        return (JobTooNew if error.code == JobTooNew().code else JobRefused)(error.detail)


class QueueRecord(_Record):
    """One queue, as it stands."""

    name: str
    queued: int
    started: int
    scheduled: int
    waiting: int
    failed: int
    """Jobs that failed and are still kept, dead ones too."""
    workers: int
    """Workers that serve it now."""
