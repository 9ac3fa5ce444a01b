"""Where things are kept in Redis: RQ's own keys, so that RQ's tools see the truth, and a few of ours."""

from __future__ import annotations

from rq.defaults import RQ_KEY_PREFIX

from dockbus.ids import JobId
from dockbus.jobs import Queue

RQ = RQ_KEY_PREFIX
INDEX = "dockbus:jobs"
"""Sorted set of all job IDs by the second they were made, newest last."""
BUS = "dockbus:bus"
"""The name of this bus: made at random by whoever comes first, gone with everything else in this Redis."""


def job_key(job: JobId) -> str:
    """The record of a job."""
    return f"{RQ}:job:{job}"


def queue_key(queue: str) -> str:
    """The list of the IDs that are queued."""
    return f"{RQ}:queue:{queue}"


def registry_key(name: str, queue: str) -> str:
    """The sorted set of a queue's jobs in a state: `wip`, `scheduled`, `deferred`, `finished`, `failed`, `canceled`."""
    return f"{RQ}:{name}:{queue}"


def workers_key(queue: str) -> str:
    """The set of the keys of all workers that serve a queue."""
    return f"{RQ}:workers:{queue}"


def queue_name(queue: Queue, engine: str | None) -> str:
    """Where its jobs are: `run` for any Engine, `run@NAME` for that Engine only."""
    return f"{queue.value}@{engine}" if engine else queue.value
