"""What an attempt notes before it acts, so that the next one can tell whether that was done already.

One short text for each job, sealed, gone with the job's end: whoever can write to Redis can take it away, which
makes an attempt act as if it were the first, and cannot make one up.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

from pydantic import BaseModel, ConfigDict

from dockbus.engine import Container
from dockbus_workers.context import JobContext
from dockbus_workers.sealed import seal, unseal


class Note(BaseModel):
    """A container as it was before an attempt acted on it."""

    model_config = ConfigDict(frozen=True)

    container: str
    """Its ID."""
    started: datetime | None
    was_stopped: bool
    command: str = ""
    """The ID of the command that is to be run in it, which an Engine starts once at most."""

    @classmethod
    def of(cls, container: Container, command: str = "") -> Note:
        """A note of how it is now."""
        return cls(
            container=container.id,
            started=container.started,
            was_stopped=container.is_stopped,
            command=command,
        )

    def is_outdated_by(self, now: Container) -> bool:
        """Whether the container has been started since."""
        return self.started != now.started


def recall(ctx: JobContext) -> Note | None:
    """What an earlier attempt at this job has noted."""
    if ctx.is_first:
        return None
    with ctx.attached():
        text = unseal(ctx, _key(ctx), ctx.redis.get(_key(ctx)))
    if text is None:
        return None
    ctx.remains.append(partial(_forget, ctx))
    return Note.model_validate_json(text)


def keep(ctx: JobContext, note: Note) -> None:
    """Note this, in place of what was noted."""
    text = seal(ctx, _key(ctx), note.model_dump_json().encode())
    with ctx.attached():
        ctx.redis.set(_key(ctx), text, ex=round(ctx.settings.bus.job_ttl))
    ctx.remains.append(partial(_forget, ctx))


def _forget(ctx: JobContext) -> None:
    ctx.redis.delete(_key(ctx))


def _key(ctx: JobContext) -> str:
    return f"dockbus:acting:{ctx.job}:{ctx.seal}"
