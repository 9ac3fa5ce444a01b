"""Build: make an image from a Dockerfile and its context, and give it its names when it is as it should be.

What can be refused is refused before the Engine hears of it: first the context, then the Dockerfile, then what no
builder here can do.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dockbus import contexts
from dockbus.artefacts import Artefact
from dockbus.engine import EngineError, Login
from dockbus.jobs import LABEL_MANAGED, Build, BuildResult
from dockbus.jobs.build import RegistryCache, Repository, Upload
from dockbus.jobs.building.findings import ImageReport, LintFinding
from dockbus.references import Reference, check_name
from dockbus.tracing import span
from dockbus.units import show_size
from dockbus_workers.building import PROVISIONAL, buildkit, classic, lint, report
from dockbus_workers.building import abilities as capabilities
from dockbus_workers.building.archives import Limits, unpack
from dockbus_workers.building.dockerfile import Instruction, base_images, parse, unused_args
from dockbus_workers.building.folders import check_files, under_root
from dockbus_workers.building.layers import LayersUnreadable, read
from dockbus_workers.building.plan import Built, Plan
from dockbus_workers.building.repositories import fetch
from dockbus_workers.building.scratch import scratch_folder
from dockbus_workers.context import JobContext
from dockbus_workers.registries import credentials_for, push

LARGE = 100 * 1024**2
"""Bytes of a context from which on a `.dockerignore` is suggested."""


def build(spec: Build, ctx: JobContext) -> BuildResult:
    """Carry out a build job.

    Raises:
        ContextUnusable: the context breaks a rule.
        LintFailed: the Dockerfile has faults, and the job does not want that.
        CapabilityMissing: what builds here cannot do what the job asks for.
        BuildFailed, DockerfileInvalid: an instruction failed, or is none.
        ImageWasteful: the image is over the job's limits.
    """
    ctx.check()
    with scratch_folder() as scratch:
        context = _context(spec, ctx, scratch)
        text, ignore = check_files(context, spec.dockerfile)
        instructions = parse(text)
        size = contexts.measure(context, ignore, ctx.check)
        able = capabilities.find(ctx, buildkit.environment(ctx, scratch))
        capabilities.demand(spec, instructions, able, ctx.settings.build.cache_dir)
        warnings = list(warnings_of(spec, instructions, size))
        for warning in warnings:
            ctx.log(f"warning: {warning}")
        plan = Plan(
            spec=spec,
            context=context,
            ignore=ignore,
            scratch=scratch,
            labels={**spec.labels, LABEL_MANAGED: "true"},
            name=f"{PROVISIONAL}{ctx.job}" if able.nameless_is_lost else "",
            secrets={name: ctx.secret(secret) for name, secret in spec.secrets.items()},
            logins=_logins(spec, instructions, ctx),
        )
        linting = _findings(spec, text, instructions, context, ctx)
        with linting as findings, _permits(spec, ctx), _without(plan.name, ctx):
            begun = time.monotonic()
            made = _made(plan, able, ctx)
            took = time.monotonic() - begun
            found, artefacts = _examined(plan, made, ctx)
            ctx.hold()
            for tag in spec.tags:
                ctx.engine.images.tag(plan.name or made.image_id, tag)
            digests = [_pushed(tag, spec, ctx) for tag in spec.pushed]
    image = ctx.engine.images.get(made.image_id)
    ctx.image_used(image.id)
    return BuildResult(
        image_id=image.id,
        tags=spec.tags,
        digests=digests,
        size=image.size,
        layers=image.layers,
        steps=made.steps,
        cached=made.cached,
        duration=round(took, 3),
        builder=able.builder,
        context_size=size,
        warnings=warnings,
        findings=findings,
        report=report.shortened(found) if found else None,
        artefacts=artefacts,
    )


def _context(spec: Build, ctx: JobContext, scratch: Path) -> Path:
    """The folder to build from, fetched or unpacked into the scratch folder where it is not the worker's own."""
    settings = ctx.settings.build
    source = spec.context
    if isinstance(source, str):
        return under_root(settings.root, source)
    into = scratch / "context"
    into.mkdir()
    if isinstance(source, Repository):
        return fetch(source, into, ctx)
    limits = Limits(settings.context_size, settings.context_files)
    unpack(_blob(source, ctx), into, limits, ctx.check)
    return into


def _blob(source: Upload, ctx: JobContext) -> Iterator[bytes]:
    with ctx.attached():
        yield from ctx.blobs.read(source.blob)


def warnings_of(spec: Build, instructions: Sequence[Instruction], size: int) -> Iterator[str]:
    """What somebody should know of a build with this Dockerfile and a context of `size` bytes."""
    for name in unused_args(instructions, spec.args):
        yield f"the Dockerfile takes no argument {name}"
    if size > LARGE:
        yield f"the context has {show_size(size)}; a .dockerignore may leave out what is not needed"


@contextmanager
def _findings(
    spec: Build, text: str, instructions: Sequence[Instruction], context: Path, ctx: JobContext
) -> Generator[list[LintFinding]]:
    """What is to be said of the Dockerfile, where the job wants that.

    It is looked for beside the block, and there and logged when that ends; before it, where the job may fail of it.

    Raises:
        LintFailed: it is too bad for the job.
    """
    findings: list[LintFinding] = []
    if spec.lint == "off":
        yield findings
        return
    with ThreadPoolExecutor(1, "lint") as beside:
        looking = beside.submit(lint.look_at, text, instructions, context)
        try:
            if spec.lint == "error":
                lint.demand(looking.result())
            yield findings
        finally:
            findings += looking.result()
            for finding in findings:
                ctx.log(f"{spec.dockerfile}, {lint.show(finding)}")


@span("build")
def _made(plan: Plan, able: capabilities.Abilities, ctx: JobContext) -> Built:
    ctx.log(f"building {', '.join(plan.spec.tags)} with {able.builder}")
    if able.builder == "buildkit":
        return buildkit.build(able.program, plan, ctx)
    return classic.build(plan, ctx)


def _logins(spec: Build, instructions: Sequence[Instruction], ctx: JobContext) -> dict[str, Login]:
    """The logins that the worker has for the registries which the build itself speaks to."""
    names = base_images(instructions, spec.args)
    names += [
        cache.registry
        for cache in (*spec.cache_from, *spec.cache_to)
        if isinstance(cache, RegistryCache)
    ]
    found: dict[str, Login] = {}
    for name in names:
        with suppress(ValueError):  # it is none: the builder will say so
            host = Reference.parse(check_name(name)).host
            if host not in found and (login := credentials_for(ctx, name)):
                found[host] = login
    return found


@contextmanager
def _permits(spec: Build, ctx: JobContext) -> Generator[None]:
    """Hold the names of the image, then a place among the Engine's builds: always in this order, lest two wait for each other."""
    with ExitStack() as stack:
        for name in sorted({Reference.parse(tag).name for tag in spec.tags}):
            stack.enter_context(
                ctx.permit(f"image:{name}", waiting=f"waiting: another job works on {name}")
            )
        limit = ctx.settings.build.parallel
        stack.enter_context(
            ctx.permit(
                "build", limit, waiting=f"waiting: this Engine carries out {limit} builds at a time"
            )
        )
        yield


@contextmanager
def _without(name: str, ctx: JobContext) -> Generator[None]:
    """The image's provisional name, where it has one, goes with the block."""
    try:
        yield
    finally:
        if name:
            with suppress(EngineError):
                ctx.engine.images.remove(name)


def _examined(
    plan: Plan, made: Built, ctx: JobContext
) -> tuple[ImageReport | None, list[Artefact]]:
    """The report on the image, where the job wants one, and its artefact.

    Raises:
        ImageWasteful: the image is over the job's limits; it is gone.
    """
    if not plan.spec.wants_report:
        return None, []
    image = plan.name or made.image_id
    try:
        full = report.report(read(ctx.pump(lambda: ctx.engine.builds.save(image))))
    except LayersUnreadable as error:
        raise report.ImageUnreadable(str(error)) from error
    for waste in full.wastes[:3]:
        ctx.log(f"{show_size(waste.size)} wasted by {waste.instruction[:120]!r}: {waste.hint}")
    try:
        report.demand(plan.spec, full)
    except report.ImageWasteful:
        _drop(made, ctx)
        raise
    text = full.model_dump_json(indent=1).encode()
    return full, [ctx.keep("image-report.json", text, "application/json")]


def _drop(made: Built, ctx: JobContext) -> None:
    """Remove an image that nobody has given a name: it may be one that was there before."""
    with suppress(EngineError):
        if not ctx.engine.images.get(made.image_id).tags:
            ctx.engine.images.remove(made.image_id)


@span("push")
def _pushed(tag: str, spec: Build, ctx: JobContext) -> str:
    """Push a tag; its name with the registry's digest."""
    digest = push(tag, ctx, spec.credentials)
    repository = Reference.parse(tag).repository
    if digest:
        return f"{repository}@{digest}"
    # An Engine with an image store does not tell it in its answer.
    names = ctx.engine.images.get(tag).digests
    return next((name for name in names if name.startswith(f"{repository}@")), tag)
