"""Containers that no job needs any more: a worker died between its job's end and the last step, or the job went on elsewhere."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from secrets import token_hex

from dockbus.bus import Bus
from dockbus.engine import Container, Engine
from dockbus.errors import JobNotFound
from dockbus.ids import JobId
from dockbus.jobs import LABEL_BUS, LABEL_ENGINE, LABEL_JOB, LABEL_REMOVE
from dockbus.records import JobRecord, JobState
from dockbus_workers.running.vault import forget

log = logging.getLogger(__name__)

GRACE = 15.0
"""Seconds after a job's end that its worker has for removing the container itself."""
EVERY = 10.0
"""Seconds between two looks."""


def remove_orphans(bus: Bus, engine: Engine) -> None:
    """Stop and remove the containers on this Engine whose jobs have ended, or begun anew. One process at a time does this.

    Containers of another bus are not looked at, and neither are those that a job was told to leave.

    Raises:
        EngineError: the Engine did not do it.
        RedisUnavailable: Redis does not answer.
    """
    # Only to save work: two that look at once do no harm.
    if not bus.redis.set(
        f"dockbus:orphans:{engine.name}", token_hex(8), nx=True, px=round(EVERY * 900)
    ):
        return
    ours = engine.containers.all(labels={LABEL_BUS: bus.job_store.learn_name()})
    for container in ours:
        job = JobId(container.labels.get(LABEL_JOB, ""))
        try:
            record = bus.job(job).refresh()
        except JobNotFound:
            record = None
        if is_stray(container, record, engine.name) or is_orphan(
            container, record, datetime.now(UTC)
        ):
            log.warning("removing container %s, which job %s has left", container.name, job)
            engine.containers.stop(container.id, timeout=10)
            if container.labels.get(LABEL_REMOVE) != "never":
                engine.containers.remove(container.id)
                forget(job, engine)


def is_stray(container: Container, record: JobRecord | None, engine: str) -> bool:
    """Whether the job of a container has begun anew on an Engine of another name, for this one had been lost."""
    made_on = container.labels.get(LABEL_ENGINE)
    now_on = record.engine if record else None
    return bool(made_on and now_on) and now_on not in (made_on, engine)


def is_orphan(container: Container, record: JobRecord | None, now: datetime) -> bool:
    """Whether the job of a container, None where it is no longer kept, has ended without it for long enough."""
    if record and not record.state.ended:
        return False
    fate = container.labels.get(LABEL_REMOVE)
    if fate == "never" and container.is_stopped:
        return False
    wanted = fate in ("false", "never")
    if wanted and (record is None or record.state is JobState.SUCCEEDED):
        return False
    since = (record and record.ended) or container.created
    return since is not None and (now - since).total_seconds() > GRACE
