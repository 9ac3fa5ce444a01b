"""Holding jobs against the worker's policy, before anything is asked of the Engine for them.

The verdict is `dockbus.policy`'s. What a worker adds is what it can see: where the links of this machine lead, and
what its Engine would not enforce. A worker that does not share the Engine's files sees no links, and goes by names.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from functools import cache

from dockbus.engine import Container, Raw
from dockbus.errors import JobNotFound
from dockbus.ids import JobId
from dockbus.jobs import LABEL_BUS, LABEL_JOB, LABEL_REMOVE, Action, Exec, Run, Spec
from dockbus.policy import Policy, PolicyRefused, target_violations, unenforced, violations
from dockbus.policy.loading import policy_of
from dockbus.settings import PolicyLevel, PolicySettings
from dockbus_workers.acting.reach import as_run
from dockbus_workers.context import JobContext
from dockbus_workers.running.unenforced import not_enforced

log = logging.getLogger(__name__)


def load_policy(settings: PolicySettings) -> Policy:
    """The policy of this process, read once; where an allowed path is a link, what it leads to is allowed, too.

    Raises:
        PolicyError: its file is wrong.
    """
    return _load(settings.path, settings.level)


@cache
def _load(path: str, level: PolicyLevel) -> Policy:
    policy = policy_of(PolicySettings(path=path, level=level))
    log.info("policy: level %s, %s", policy.level, path or "no exceptions")
    led = [
        entry.model_copy(update={"path": os.path.realpath(entry.path)})
        for entry in policy.allow.bind_mounts
    ]
    mounts = policy.allow.bind_mounts + [e for e in led if e not in policy.allow.bind_mounts]
    allow = policy.allow.model_copy(update={"bind_mounts": mounts})
    return policy.model_copy(update={"allow": allow})


def check_policy(spec: Spec, ctx: JobContext) -> None:
    """Make sure that the policy lets a job through. The Engine is asked only by a `restricted` one, and last.

    Raises:
        PolicyRefused: it does not; every rule that the job breaks is named.
    """
    policy = load_policy(ctx.settings.policy)
    found = violations(spec, policy)
    if isinstance(spec, Run):
        found = found or violations(_followed(spec), policy)
        if not found and policy.level == "restricted":
            found = unenforced(not_enforced(spec, ctx.engine.guards), policy)
    if found:
        raise PolicyRefused.of(found)


def check_target(spec: Action, target: Container, raw: Raw, ctx: JobContext) -> None:
    """Make sure that the policy lets an action be done to this container, which was just looked at.

    Raises:
        PolicyRefused: it does not; every rule that is broken is named.
    """
    policy = load_policy(ctx.settings.policy)
    reach = as_run(raw) if isinstance(spec, Exec) else None
    found = target_violations(
        spec,
        target.labels,
        policy,
        job=_owner(target, ctx),
        reach=_followed(reach) if reach else None,
    )
    if found:
        raise PolicyRefused.of(found)


def _owner(container: Container, ctx: JobContext) -> str:
    """The job that a container belongs to until it ends; empty where there is none.

    Of a job of another bus nothing is known but what its container says: one that is not to stay is taken for its.
    """
    job = container.labels.get(LABEL_JOB, "")
    if not job:
        return ""
    if container.labels.get(LABEL_BUS) != ctx.bus_name:
        is_task = container.labels.get(LABEL_REMOVE) == "true" and not container.is_stopped
        return job if is_task else ""
    with ctx.attached(), suppress(JobNotFound):
        return "" if ctx.jobs.get(JobId(job)).state.ended else job
    return ""


def _followed(spec: Run) -> Run:
    """The same job with the paths that its links lead to, as far as this process sees them."""
    mounts = [
        mount.model_copy(update={"source": os.path.realpath(mount.source or "/")})
        if mount.type == "bind"
        else mount
        for mount in spec.volumes
    ]
    return spec.model_copy(update={"volumes": mounts})
