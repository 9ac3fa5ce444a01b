"""The container that an action is about: looked at once, freshly, and held against the job's conditions."""

from __future__ import annotations

from datetime import UTC, datetime

from dockbus.engine import Container, ContainerNotFound, EngineRejected, Raw
from dockbus.engine.states import state_of
from dockbus.expressions import Expression
from dockbus.jobs import Action, NotDone
from dockbus_workers.context import JobContext
from dockbus_workers.policing import check_target

_SHORT_ID = 12
"""Digits of an ID that are taken for one. With fewer, the name of a container that is gone could mean another's ID."""


def look(spec: Action, ctx: JobContext) -> Container | None:
    """The job's container, which the policy lets it act on; None where it is gone.

    Raises:
        PolicyRefused: it may not.
    """
    try:
        raw: Raw = ctx.engine.containers.inspect(spec.container)
    except (ContainerNotFound, EngineRejected):
        return None
    found = Container.parse(raw)
    if not is_meant(found, spec.container):
        return None
    check_target(spec, found, raw, ctx)
    return found


def must_see(spec: Action, ctx: JobContext) -> Container:
    """The same, where the job can do nothing without it.

    Raises:
        ContainerNotFound: it is gone.
        PolicyRefused: the job may not act on it.
    """
    found = look(spec, ctx)
    if not found:
        raise ContainerNotFound(f"{spec.container!r} on {ctx.engine.name!r}")
    return found


def is_meant(container: Container, name: str) -> bool:
    """Whether a name or ID is this container's. To Engines any beginning of its ID is one, and so is `cafe`."""
    return name in (container.name, container.id) or (
        len(name) >= _SHORT_ID and container.id.startswith(name)
    )


def why_not(spec: Action, container: Container, ctx: JobContext) -> NotDone | None:
    """Which of the job's conditions does not hold for the container as it is now; None where all do."""
    if spec.started and spec.started != container.started:
        since = container.started.isoformat() if container.started else "never"
        ctx.log(f"nothing done: {container.name} was started {since}, which is another life of it")
        return NotDone.OTHER_LIFE
    if spec.only_if:
        state = state_of(container, ctx.engine.name).model_dump()
        known = {"container": state, "now": datetime.now(UTC)}
        outcome = Expression.parse(spec.only_if).evaluate(known)
        if outcome.value is not True:
            ctx.log(f"nothing done: {spec.only_if} {outcome.problem or 'does not hold'}")
            return NotDone.CONDITION
    return None
