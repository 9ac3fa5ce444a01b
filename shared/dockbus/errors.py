"""Every error dockbus raises on purpose, in one tree.

The docstring of an error is what its user reads: the first paragraph says what is wrong, the rest
says what to do. A raise adds only the detail that differs from case to case. `code` is stable: it is
the HTTP problem type, the field in a job's record and the word to search the documentation for.

    DockbusError
    ├── SettingsError
    ├── InvalidSpec
    ├── RedisUnavailable
    ├── MissingExtra
    ├── MissingTool
    ├── Unauthorized
    ├── JobError
    │   ├── JobNotFound
    │   ├── JobNotCancelable
    │   ├── JobNotReplayable
    │   ├── KeyConflict
    │   ├── JobFailed
    │   ├── JobCanceled
    │   ├── JobTimeout
    │   ├── JobRefused
    │   │   └── JobTooNew
    │   ├── JobExpired
    │   ├── DependencyFailed
    │   ├── WorkerLost
    │   └── WaitTimeout
    ├── EngineNameTaken
    ├── RuleError
    ├── ScheduleError
    ├── ScanFailed
    ├── BuildFailed
    └── EngineError          (dockbus.engine.errors)

Errors of one part alone stand with that part; `docs/errors.md` lists them all.
"""

from __future__ import annotations

import difflib
import inspect
import re
from typing import ClassVar


class DockbusError(Exception):
    """Something went wrong in dockbus.

    Look at the detail; if it does not help, run `dockbus doctor`.
    """

    retryable: ClassVar[bool] = False
    """Whether the same job may well succeed on a later attempt."""
    pause: ClassVar[float] = 0.0
    """Seconds that a later attempt has to wait for at least, as far as the job's retry policy allows."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def code(self) -> str:
        """The stable name of this error: its class in kebab case, such as `redis-unavailable`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()

    @property
    def title(self) -> str:
        """One sentence that is the same for every error of this class."""
        return self._paragraphs()[0]

    @property
    def advice(self) -> str:
        """What the reader can do about it; may be empty."""
        return " ".join(self._paragraphs()[1:])

    def __str__(self) -> str:
        return sentence(self.title, self.detail, self.advice)

    def _paragraphs(self) -> list[str]:
        text = inspect.getdoc(type(self)) or type(self).__name__
        return [" ".join(part.split()) for part in text.split("\n\n")]


class SettingsError(DockbusError):
    """A setting is wrong.

    `dockbus doctor --settings` lists every setting, its value and where it came from.
    """


class InvalidSpec(DockbusError):
    """The job is not valid, so nothing was put on the bus.

    Correct the named fields and send it again.
    """


class RedisUnavailable(DockbusError):
    """Redis does not answer or refuses, so nothing was accepted or changed.

    Start it (`dockbus up` brings its own) or point DOCKBUS_REDIS_URL at one that runs, then try again.
    """

    retryable = True


class MissingExtra(DockbusError):
    """A part of dockbus that is not installed was asked for."""

    def __init__(self, extra: str, module: str = "") -> None:
        why = f" (no module named {module!r})" if module else ""
        super().__init__(
            f"this needs the {extra!r} extra{why}. Run: pip install 'dockbus[{extra}]'"
        )
        self.extra = extra


class MissingTool(DockbusError):
    """A program that dockbus calls is not installed."""


class Unauthorized(DockbusError):
    """The bearer token is missing or wrong.

    Send `Authorization: Bearer TOKEN`; `dockbus up` prints where the token is kept.
    """


class JobError(DockbusError):
    """A job could not be carried out."""


class JobNotFound(JobError):
    """There is no such job.

    Finished jobs are kept for a limited time (DOCKBUS_BUS_RESULT_TTL); `dockbus jobs` lists those that are.
    """


class JobNotCancelable(JobError):
    """The job has already ended, so it cannot be canceled."""


class JobNotReplayable(JobError):
    """The job has not ended yet, so it cannot be ordered again.

    Wait for its end, or cancel it first.
    """


class KeyConflict(JobError):
    """This key already belongs to a job with another spec.

    Use a new key for a new job, or send the very same spec to get the first job back.
    """


class JobFailed(JobError):
    """The job failed."""


class JobCanceled(JobError):
    """The job was canceled."""


class JobTimeout(JobError):
    """The job ran longer than its timeout and was stopped.

    Raise `timeout` if the work really takes that long.
    """


class JobRefused(JobError):
    """The job's record in Redis was not written by a holder of this bus's key, so it was not run.

    Give every producer and worker the same DOCKBUS_BUS_KEY, and find out who else can write to this Redis.
    """


class JobTooNew(JobRefused):
    """The job was ordered by a newer dockbus, and this version does not know all that it says.

    Upgrade what is older. A worker leaves such a job to newer ones, as long as its order holds.
    """

    def __init__(self, detail: str = "", *, expires: float = 0.0) -> None:
        super().__init__(detail)
        self.expires = expires
        """The second of the epoch after which no attempt may begin."""


class JobExpired(JobError):
    """The job waited so long that its order no longer holds, so it was not begun.

    Start more workers of its kind, or raise DOCKBUS_BUS_JOB_TTL.
    """


class DependencyFailed(JobError):
    """A job that this one was to run after did not succeed, so it was not begun.

    Look at that job first; order with `after_failure="run"` what has to run all the same.
    """


class WorkerLost(JobError):
    """The worker died every time that it carried out this job.

    Its host's kernel log tells whether memory ran out there, its own log whether it was a bug.
    """


class WaitTimeout(JobError):
    """The job did not end in time; it goes on.

    Wait longer, or look at `dockbus job ID`.
    """


class EngineNameTaken(DockbusError):
    """Another Engine has this name on the bus, so no job is taken: one that had begun there would be begun here anew.

    Give each Engine's workers a name of their own: DOCKBUS_ENGINE_NAME.
    """


class RuleError(DockbusError):
    """A rule file is wrong, so no rule of it is in force.

    Correct the named lines; `dockbus rules lint FILE` checks a file without running anything.
    """


class ScheduleError(DockbusError):
    """A schedule file is wrong, so no schedule of it is in force.

    Correct the named lines; `dockbus schedules FILE` checks a file without running anything.
    """


class ScanFailed(DockbusError):
    """The scanner could not scan the image."""


class BuildFailed(DockbusError):
    """The image could not be built.

    The build's log says which instruction failed: `dockbus logs ID`.
    """


def sentence(title: str, detail: str, advice: str) -> str:
    """An error in one line: what is wrong, in this case, and what to do."""
    head = title.rstrip(".")
    body = f"{head}: {detail.rstrip('.')}." if detail else f"{head}."
    return f"{body} {advice}".strip()


def near_miss(word: str, known: list[str]) -> str:
    """`", did you mean 'x'?"` for the known word closest to `word`, or an empty string."""
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {str(close[0])!r}?" if close else ""
