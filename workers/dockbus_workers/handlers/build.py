"""Build: make an image from a Dockerfile and a folder under the worker's build root."""

from __future__ import annotations

import re
import time
from functools import partial
from pathlib import Path

from dockbus.engine import EngineFault, EngineRejected
from dockbus.errors import BuildFailed, DockbusError
from dockbus.joblog import Progress
from dockbus.jobs import LABEL_MANAGED, Build, BuildResult
from dockbus_workers.context import JobContext


class ContextUnusable(DockbusError):
    """The worker cannot build from this folder.

    Name one under the worker's build root, as the worker sees it; DOCKBUS_BUILD_ROOT at the worker sets that root.
    """


_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")


def build(spec: Build, ctx: JobContext) -> BuildResult:
    """Carry out a build job.

    Raises:
        ContextUnusable: the context or the Dockerfile is not there, or not under the build root.
        BuildFailed: an instruction failed.
    """
    ctx.check()
    context = find_context(ctx.settings.build.root, spec)
    ctx.log(f"building {', '.join(spec.tags)} from {spec.context}")
    begun = time.monotonic()
    image_id, steps, cached = "", 0, 0
    try:
        start = partial(
            ctx.engine.images.build,
            context,
            dockerfile=spec.dockerfile,
            tags=spec.tags,
            args=spec.args,
            labels={**spec.labels, LABEL_MANAGED: "true"},
            target=spec.target,
            pull=spec.pull,
            no_cache=spec.no_cache,
        )
        for item in ctx.pump(start):
            image_id = item.get("aux", {}).get("ID", image_id)
            for line in str(item.get("stream", "")).splitlines():
                if not line.strip():
                    continue
                if step := _STEP.match(line):
                    steps = int(step[2])
                    ctx.progress(
                        Progress(
                            step="build",
                            status=step[3],
                            current=int(step[1]),
                            total=steps,
                            unit="steps",
                        )
                    )
                cached += line.strip() == "---> Using cache"
                ctx.log(line, "stdout")
    except (
        EngineFault,
        EngineRejected,
    ) as error:  # what an instruction did, not what the Engine suffers from
        raise BuildFailed(error.detail) from error
    image = ctx.engine.images.get(image_id or spec.tags[0])
    return BuildResult(
        image_id=image.id,
        tags=spec.tags,
        size=image.size,
        layers=image.layers,
        steps=steps,
        cached=cached,
        duration=round(time.monotonic() - begun, 3),
    )


def find_context(root: Path, spec: Build) -> Path:
    """The context folder of a spec, its links followed.

    Raises:
        ContextUnusable: it, or its Dockerfile, is not there, or lies outside `root`.
    """
    root = root.resolve()
    context = (root / spec.context).resolve()
    if not context.is_relative_to(root):
        raise ContextUnusable(
            f"context: {context} is not under the worker's build root {root} (DOCKBUS_BUILD_ROOT)"
        )
    if not context.is_dir():
        raise ContextUnusable(f"context: the worker has no folder {context}")
    dockerfile = (context / spec.dockerfile).resolve()
    if not dockerfile.is_relative_to(context) or not dockerfile.is_file():
        raise ContextUnusable(f"dockerfile: there is no {spec.dockerfile} in {context}")
    return context
