"""The Engine's classic builder: there on every Engine, but without secrets, mounts, heredocs or exported caches."""

from __future__ import annotations

import re
from collections import deque

from dockbus import contexts
from dockbus.engine import EngineError
from dockbus.engine.errors import EngineConflict, EngineFault, EngineRejected
from dockbus.joblog import Progress, Stream
from dockbus.jobs.build import RegistryCache
from dockbus_workers.building.faults import TAIL, explain
from dockbus_workers.building.plan import Built, Plan
from dockbus_workers.context import JobContext

_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")
_OWN = re.compile(r" ---> |Removing intermediate container |Successfully built ")
_RED, _PLAIN = "\x1b[91m", "\x1b[0m"
"""What the Engine puts round that which an instruction writes to stderr."""


def build(plan: Plan, ctx: JobContext) -> Built:
    """Build an image; the job can be stopped all the while, and the build stops with it.

    Raises:
        BuildFailed, DockerfileInvalid: an instruction failed, or is none.
        EngineError: the Engine or a registry failed.
    """
    spec = plan.spec
    output = _Output(ctx)
    packed = plan.scratch / "context.tar"
    with packed.open("w+b") as archive:
        contexts.pack(plan.context, plan.ignore, archive, ctx.check)
        archive.seek(0)
        try:
            for item in ctx.pump(
                lambda: ctx.engine.builds.start(
                    archive,
                    dockerfile=spec.dockerfile,
                    args=spec.args,
                    labels=plan.labels,
                    target=spec.target,
                    platform=next(iter(spec.platforms), None),
                    network=spec.network,
                    pull=spec.pull,
                    no_cache=spec.no_cache,
                    cache_from=[
                        c.registry for c in spec.cache_from if isinstance(c, RegistryCache)
                    ],
                    logins=plan.logins,
                )
            ):
                output.image_id = item.get("aux", {}).get("ID", output.image_id)
                output.add(str(item.get("stream", "")))
        except EngineError as error:
            if isinstance(error, EngineFault | EngineRejected | EngineConflict):
                raise explain(error.detail, output.instruction, output.tail) from error
            raise
    return Built(image_id=output.image_id, steps=output.steps, cached=output.cached)


class _Output:
    """What the builder says, line by line."""

    def __init__(self, ctx: JobContext) -> None:
        self._ctx = ctx
        self.image_id = ""
        self.steps = self.cached = 0
        self.instruction = ""
        self.tail: deque[str] = deque(maxlen=TAIL)
        """The last lines of the instruction's own output."""

    def add(self, text: str) -> None:
        """Take in one piece, which holds whole lines."""
        stream: Stream = "stderr" if _RED in text else "stdout"
        for line in text.replace(_RED, "").replace(_PLAIN, "").splitlines():
            if line.strip():
                self._add_line(line, stream)

    def _add_line(self, line: str, stream: Stream) -> None:
        if step := _STEP.match(line):
            self.instruction, self.steps = step[3], int(step[2])
            self.tail.clear()
            self._ctx.progress(
                Progress(
                    step="build",
                    status=step[3],
                    current=int(step[1]),
                    total=self.steps,
                    unit="steps",
                )
            )
        elif not _OWN.match(line):
            self.tail.append(line)
        self.cached += line.strip() == "---> Using cache"
        self._ctx.log(line, stream)
