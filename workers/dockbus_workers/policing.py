"""Holding jobs against the worker's policy, before anything is asked of the Engine for them.

The verdict is `dockbus.policy`'s. What a worker adds is what it can see: where the links of this machine lead, and
what its Engine would not enforce. A worker that does not share the Engine's files sees no links, and goes by names.
"""

from __future__ import annotations

import logging
import os
from functools import cache

from dockbus.jobs import Run, Spec
from dockbus.policy import Policy, PolicyRefused, unenforced, violations
from dockbus.policy.loading import policy_of
from dockbus.settings import PolicyLevel, PolicySettings
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


def _followed(spec: Run) -> Run:
    """The same job with the paths that its links lead to, as far as this process sees them."""
    mounts = [
        mount.model_copy(update={"source": os.path.realpath(mount.source or "/")})
        if mount.type == "bind"
        else mount
        for mount in spec.volumes
    ]
    return spec.model_copy(update={"volumes": mounts})
