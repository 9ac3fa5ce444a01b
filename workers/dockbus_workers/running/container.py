"""A job's container: made once, found again by whoever goes on with the job, started, and cleared away.

Its name follows from the job, and its labels tell whose it is. So a second attempt meets the first one's container
and adopts it, and never takes somebody else's for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from dockbus.engine import (
    Container,
    ContainerNotFound,
    ContainerSpec,
    EngineConflict,
    EngineError,
    EngineFault,
    Image,
    ImageNotFound,
)
from dockbus.jobs import (
    LABEL_BUS,
    LABEL_ENGINE,
    LABEL_JOB,
    LABEL_MANAGED,
    LABEL_ORDER,
    LABEL_REMOVE,
    Run,
)
from dockbus.jobs.running import OWN_NETWORK
from dockbus_workers.context import JobContext
from dockbus_workers.images import ensure_image, was_there
from dockbus_workers.running.files import put_files
from dockbus_workers.running.vault import filled, forget, mounts, prepare
from dockbus_workers.scanning import require_scan

TRIES = 3
"""How often an image that vanishes, or changes, between the look at it and its use is looked for."""


@dataclass(frozen=True)
class Own:
    """A job's own container, when it had just been made or found."""

    id: str
    networks: Collection[str]
    """Names of those that it was on."""
    adopted: bool = False
    """An earlier attempt had made it."""
    begun: bool = False
    """It had been started before."""


def name_of(spec: Run, ctx: JobContext) -> str:
    """The name of a job's container."""
    return spec.name or f"dockbus-{ctx.job}"


def make_or_adopt(spec: Run, secrets: Mapping[str, str], ctx: JobContext) -> Own:
    """This job's container.

    Args:
        spec: the job's.
        secrets: values of the secrets that it names.
        ctx: the job.

    Raises:
        EngineConflict: its name is taken by a container that is not this job's.
        DockbusError: whatever keeps the image from being there.
    """
    may_be_there = spec.name or not ctx.is_first
    if may_be_there and (there := ctx.engine.containers.find(name_of(spec, ctx))):
        if spec.require_scan and there.state == "created":
            require_scan(ctx, there.image_id, spec.require_scan)
        return _adopt(there, ctx)
    ctx.check()
    return _make(spec, secrets, ctx)


def start(container: Own, spec: Run, secrets: Mapping[str, str], ctx: JobContext) -> Own:
    """Start a container that never was; returns it, or the one that had to be made in its place.

    Raises:
        CommandNotFound: the image has no such program.
        EngineRejected: it cannot be started so.
    """
    for attempt in range(2):
        try:
            _join(container, spec, ctx)
            put_files(container.id, spec, ctx)
            with filled(spec, secrets, ctx):
                ctx.hold(lately=True)
                ctx.engine.containers.start(container.id)
        except EngineError as error:
            if attempt or not (why := _is_lost(container, spec, error)):
                raise
            ctx.log(f"container {container.id[:12]} {why}; made anew")
            ctx.engine.networks.forget()
            ctx.engine.containers.remove(container.id)
            container = make_or_adopt(spec, secrets, ctx)
        else:
            break
    return container


def stop_own(spec: Run, ctx: JobContext) -> Container | None:
    """Stop this job's container, where there is one; returns it.

    Raises:
        Detached: another attempt has the job.
    """
    there = ctx.engine.containers.find(name_of(spec, ctx))
    if not there or not _is_own(there, ctx):
        return None
    ctx.hold()
    ctx.engine.containers.stop(there.id, timeout=spec.stop_timeout)
    return there


def clear(ctx: JobContext) -> None:
    """Remove what a job has left on the Engine, where it is still there and has stopped."""
    for container in ctx.engine.containers.all(labels={LABEL_JOB: ctx.job, LABEL_ORDER: ctx.seal}):
        if container.labels.get(LABEL_REMOVE) != "never":
            ctx.engine.containers.remove(container.id)
    forget(ctx.job, ctx.engine)


def _make(spec: Run, secrets: Mapping[str, str], ctx: JobContext) -> Own:
    wanted = _described(spec, secrets, ctx)
    look = bool(spec.require_scan) or not was_there(spec.image, spec.pull, spec.platform, ctx)
    for left in reversed(range(TRIES)):
        image = None
        if look:
            image = ensure_image(spec.image, spec.pull, spec.platform, spec.credentials, ctx)
        if image and spec.require_scan:
            require_scan(ctx, image.id, spec.require_scan)
            wanted = wanted.model_copy(update={"image": image.id})  # its name may move meanwhile
        ctx.hold(here=True, anew=True)
        prepare(spec, secrets, ctx)
        try:
            made = ctx.engine.containers.create(wanted)
        except EngineConflict:  # made between the look and the call
            return _adopt(ctx.engine.containers.get(name_of(spec, ctx)), ctx)
        except ImageNotFound:  # removed between the look and the call
            if not left:
                raise
            look = True
            continue
        if not image or spec.require_scan or _is_of(made, image, spec, ctx):
            return Own(made, (spec.networks[0].name,))
        ctx.log(f"{spec.image} has become another image meanwhile")
        ctx.engine.containers.remove(made)
    raise EngineConflict(f"{spec.image} becomes another image again and again")


def _described(spec: Run, secrets: Mapping[str, str], ctx: JobContext) -> ContainerSpec:
    """The container as the Engine is to make it: with its name, its labels and the values of its variables."""
    labels = {
        **spec.labels,
        LABEL_MANAGED: "true",
        LABEL_BUS: ctx.bus_name,
        LABEL_JOB: ctx.job,
        LABEL_ORDER: ctx.seal,
        LABEL_ENGINE: ctx.engine.name,
        LABEL_REMOVE: _fate(spec),
    }
    values = {variable: secrets[name] for variable, name in spec.env_from.items()}
    return spec.model_copy(
        update={
            "name": name_of(spec, ctx),
            "labels": labels,
            "env": {**spec.env, **values},
            "volumes": [*spec.volumes, *mounts(spec, ctx)],
        }
    )


def _fate(spec: Run) -> str:
    if spec.mode == "task":
        return str(spec.remove).lower()
    return "false" if spec.remove else "never"


def _is_of(container: str, image: Image, spec: Run, ctx: JobContext) -> bool:
    """Whether the container was made from this image, where the job does not take any that has the name.

    Some Engines name a container's image by another digest.
    """
    if (
        spec.pull in ("if-not-present", "never")
        or ctx.engine.containers.get(container).image_id == image.id
    ):
        return True
    named = ctx.engine.images.find(spec.image)
    return named is not None and named.id == image.id


def _is_own(container: Container, ctx: JobContext) -> bool:
    return (container.labels.get(LABEL_JOB), container.labels.get(LABEL_ORDER)) == (
        ctx.job,
        ctx.seal,
    )


def _adopt(container: Container, ctx: JobContext) -> Own:
    """The container of an earlier attempt, if it is one.

    Raises:
        EngineConflict: it is somebody else's.
    """
    if not _is_own(container, ctx):
        raise EngineConflict(
            f"a container named {container.name} is there and was not made by this job; remove it"
        )
    ctx.log(f"adopting container {container.id[:12]} ({container.state}) of an earlier attempt")
    return Own(container.id, container.networks, adopted=True, begun=container.state != "created")


def _join(container: Own, spec: Run, ctx: JobContext) -> None:
    """Let it join those of its networks that it is not on: the Engine puts a new container on one only."""
    for network in spec.networks[1:]:
        if network.name not in container.networks:
            own = network.name == OWN_NETWORK
            name = ctx.engine.networks.own() if own else network.name
            ctx.engine.networks.connect(network.model_copy(update={"name": name}), container.id)


def _is_lost(container: Own, spec: Run, error: EngineError) -> str:
    """Why a container that was made can never be started, though another in its place could be; empty if it can."""
    # What is left of an Engine that was killed while it got the container's process ready: nothing of the
    # container has run, and nothing ever can.
    if isinstance(error, EngineFault) and f"task {container.id}: already exists" in error.detail:
        return "cannot be started after the Engine's end"
    if isinstance(error, ContainerNotFound) and container.id in error.detail:
        return "was removed before its start"
    if (
        OWN_NETWORK in {*container.networks, *(network.name for network in spec.networks)}
        and "network" in error.detail
        and "not found" in error.detail
    ):
        return "was made for a network that is gone"
    return ""
