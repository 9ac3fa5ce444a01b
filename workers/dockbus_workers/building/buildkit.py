"""BuildKit, through the standalone program docker-buildx: nothing in Python speaks its protocol.

Secrets and logins reach the program as open files that have no name, so a killed worker leaves none of them behind.
The image gets none of its names here, so a build that lives on after its job does not change what they mean.
"""

from __future__ import annotations

import base64
import codecs
import json
import os
import selectors
import signal
import subprocess
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dockbus import programs
from dockbus.engine.builds import auths
from dockbus.joblog import Progress
from dockbus.jobs import Build
from dockbus.jobs.build import LocalCache
from dockbus.settings import Settings
from dockbus_workers.building.faults import explain
from dockbus_workers.building.plan import Built, Plan
from dockbus_workers.building.vertexes import Begun, Failed, Line, Vertexes
from dockbus_workers.context import TICK, JobContext

GRACE = 5.0
"""Seconds between the signal to end and the kill."""
_OURS = ("DOCKBUS_", "DOCKER_", "BUILDX_", "BUILDKIT_", "OTEL_", "GIT_")


def build(program: str, plan: Plan, ctx: JobContext) -> Built:
    """Build an image; the job can be stopped all the while, and the build stops with it.

    Raises:
        BuildFailed, DockerfileInvalid: an instruction failed, or is none.
        EngineError: the Engine or a registry failed.
    """
    result = plan.scratch / "image-id"
    vertexes = Vertexes()
    with ExitStack() as stack:
        secrets = {
            name: stack.enter_context(_nameless(value)) for name, value in plan.secrets.items()
        }
        config = plan.scratch / "docker"
        config.mkdir()
        login = stack.enter_context(_nameless(_config(plan)))
        (config / "config.json").symlink_to(f"/proc/self/fd/{login}")
        process = stack.enter_context(
            _running(
                [*_mortal(), program, *arguments(plan, ctx.settings, secrets, result)],
                environment(ctx, config),
                (login, *secrets.values()),
            )
        )
        for text in _output(process, ctx):
            _tell(vertexes, text, ctx)
        for line in vertexes.finish():
            ctx.log(line.text, line.stream)
        code = process.wait()
    if code:
        failed = vertexes.failed
        if failed and failed.number:
            raise explain(failed.error, failed.instruction, failed.tail)
        raise explain(vertexes.error or (failed.error if failed else f"it ended with {code}"))
    # The file has the digest of the image's configuration, which an image store does not know it by.
    made = ctx.engine.images.get(plan.name).id if plan.name else result.read_text().strip()
    return Built(image_id=made, steps=len(vertexes.steps), cached=vertexes.cached)


def arguments(
    plan: Plan, settings: Settings, secrets: Mapping[str, int], result: Path
) -> list[str]:
    """What follows `docker-buildx`; `secrets` are open files by the IDs of secrets."""
    spec = plan.spec
    given = ["build", "--progress=rawjson", f"--iidfile={result}", f"--network={spec.network}"]
    given.append(f"--file={plan.context / spec.dockerfile}")
    given += [f"--build-arg={name}={value}" for name, value in spec.args.items()]
    given += [f"--label={name}={value}" for name, value in plan.labels.items()]
    given += [f"--secret=id={name},src=/proc/self/fd/{fd}" for name, fd in secrets.items()]
    given += [f"--cache-from={text}" for text in _caches(spec, settings, "src")]
    given += [f"--cache-to={text}" for text in _caches(spec, settings, "dest")]
    if plan.name:
        given.append(f"--tag={plan.name}")
    if spec.target:
        given.append(f"--target={spec.target}")
    if spec.platforms:
        given.append(f"--platform={','.join(spec.platforms)}")
    for flag in ("pull", "no_cache", "provenance", "sbom"):
        if getattr(spec, flag):
            given.append(f"--{flag.replace('_', '-')}=true")
    return [*given, str(plan.context)]


def _caches(spec: Build, settings: Settings, way: str) -> Iterator[str]:
    for cache in spec.cache_from if way == "src" else spec.cache_to:
        mode = ",mode=max" if way == "dest" else ""
        if isinstance(cache, LocalCache):
            yield f"type=local,{way}={Path(settings.build.cache_dir) / cache.local}{mode}"
        else:
            yield f"type=registry,ref={cache.registry}{mode}"
    if spec.inline_cache and way == "dest":
        yield "type=inline"


def environment(ctx: JobContext, config: Path) -> dict[str, str]:
    """The program's environment: this Engine, and a configuration of the build's own."""
    engine = ctx.settings.engine
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    tls = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": engine.cert_path}
    return {
        **kept,
        **(tls if engine.cert_path else {}),
        "DOCKER_HOST": ctx.engine.host,
        "DOCKER_CONFIG": str(config),
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        # By itself it asks Git about the context, whose configuration there could have Git run anything here.
        "BUILDX_GIT_INFO": "0",
        "BUILDX_GIT_LABELS": "0",
        "GIT_DIR": os.devnull,
    }


def _config(plan: Plan) -> str:
    """Docker's configuration file with the build's logins."""
    found = {
        host: {
            "auth": base64.b64encode(f"{login['username']}:{login['password']}".encode()).decode()
        }
        if "username" in login
        else login
        for host, login in auths(plan.logins).items()
    }
    return json.dumps({"auths": found})


def _mortal() -> list[str]:
    """What has a program end with its worker, if that is killed; by itself it would build on."""
    setpriv = programs.find("setpriv")
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []


@contextmanager
def _nameless(text: str) -> Generator[int]:
    """A file in memory that only this process and the one it starts can read."""
    file = os.memfd_create("dockbus")
    try:
        os.write(file, text.encode())
        yield file
    finally:
        os.close(file)


@contextmanager
def _running(
    command: list[str], env: dict[str, str], files: tuple[int, ...]
) -> Generator[subprocess.Popen[bytes]]:
    """The program, in a group of its own; it has ended when the block has."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=env,
        pass_fds=files,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                if process.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, number)
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=GRACE)


def _output(process: subprocess.Popen[bytes], ctx: JobContext) -> Iterator[str]:
    """What the program writes, until its end."""
    assert process.stderr  # noqa: S101  it was asked for
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        while True:
            if selector.select(TICK):
                data = os.read(process.stderr.fileno(), 65536)
                if not data:
                    return
                yield decoder.decode(data)
            ctx.check()


def _tell(vertexes: Vertexes, text: str, ctx: JobContext) -> None:
    for item in vertexes.feed(text):
        match item:
            case Line(text=line, stream=stream):
                ctx.log(line, stream)
            case Failed(vertex=vertex):
                if not vertex.number:  # that of an instruction is the job's end, and told there
                    ctx.log(f"{vertex.name}: {vertex.error}", "stderr")
            case Begun(vertex=vertex):
                if not vertex.internal:
                    ctx.log(vertex.name + (" (cached)" if vertex.cached else ""), "stdout")
                if vertex.number:
                    ctx.progress(
                        Progress(
                            step=vertex.stage or "build",
                            status=vertex.instruction,
                            current=vertex.number,
                            total=vertex.total,
                            unit="steps",
                        )
                    )
