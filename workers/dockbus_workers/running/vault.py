"""Secrets as files of a container: `/run/secrets/NAME`, in memory, there from its first instruction.

They are in a volume that is memory, which lasts as long as some running container has it. So another one, the holder,
has it first and is filled, the job's container is started with it, and the holder goes. No secret is in what the
Engine tells of a container, nor on a disk, nor does the image need a shell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping

from dockbus.engine import ContainerSpec, Engine, EngineConflict
from dockbus.jobs import LABEL_BUS, LABEL_JOB, LABEL_MANAGED, LABEL_ORDER, Run
from dockbus.jobs.running import SECRETS, Mount, Network
from dockbus_workers.context import JobContext
from dockbus_workers.running.files import pack
from dockbus_workers.running.holder import COMMAND, ensure_holder

_ROOM = 64 * 1024
"""Bytes beyond those of the secrets: a file takes whole pages."""


def mounts(spec: Run, ctx: JobContext) -> list[Mount]:
    """What the job's container has to mount to find the secrets that its spec names."""
    source = _name(ctx.job)
    return [Mount(source=source, target=SECRETS, read_only=True)] if spec.secrets else []


def prepare(spec: Run, secrets: Mapping[str, str], ctx: JobContext) -> None:
    """Make the volume, before a container is made that mounts it."""
    if spec.secrets:
        size = sum(len(secrets[name].encode()) + 4096 for name in spec.secrets) + _ROOM
        ctx.engine.volumes.make_in_memory(_name(ctx.job), size=size, labels=_labels(ctx))


@contextlib.contextmanager
def filled(spec: Run, secrets: Mapping[str, str], ctx: JobContext) -> Generator[None]:
    """Have the secrets in their volume for the block, in which the container that mounts it has to be started."""
    if not spec.secrets:
        yield
        return
    name, containers = _name(ctx.job), ctx.engine.containers
    containers.remove(name, force=True)  # an earlier attempt's
    holder = containers.create(
        ContainerSpec(
            name=name,
            image=ensure_holder(ctx.engine),
            entrypoint=COMMAND,
            networks=[Network(name="none")],
            volumes=[Mount(source=name, target=SECRETS)],
            read_only=True,
            init=False,
            labels=_labels(ctx),
        )
    )
    try:
        containers.start(holder)
        files = {f"/{name}": (secrets[name].encode(), 0o444) for name in spec.secrets}
        containers.put(holder, pack(files.items()), SECRETS)
        yield
    finally:
        containers.remove(holder, force=True)


def forget(job: str, engine: Engine) -> None:
    """Remove the volume of a job's secrets, where there is one and no container has it any more."""
    with contextlib.suppress(EngineConflict):
        engine.volumes.remove(_name(job))


def _name(job: str) -> str:
    return f"dockbus-{job}-secrets"


def _labels(ctx: JobContext) -> dict[str, str]:
    return {
        LABEL_MANAGED: "true",
        LABEL_BUS: ctx.bus_name,
        LABEL_JOB: ctx.job,
        LABEL_ORDER: ctx.seal,
    }
