"""Contexts and build jobs for tests: small Dockerfiles on the base image, built by either builder."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from dockbus import Build, BuildResult, JobFailed, JobHandle, Settings
from dockbus.engine import Engine
from dockbus.records import Failure
from dockbus.settings import BuildSettings
from processes import Program

MARK = {"dockbus.test": "1"}
BASE = "dockbus/base:1"
Start = Callable[..., Program]


def context(folder: Path, dockerfile: str, files: Mapping[str, str] | None = None) -> Path:
    """Make `folder` a context with these files and a Dockerfile on the base image."""
    for name, text in {"Dockerfile": f"FROM {BASE}\n{dockerfile}\n", **(files or {})}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def packed(*entries: tarfile.TarInfo | tuple[str, str], zipped: bool = True) -> bytes:
    """A tar archive of files (name and text) and of other entries."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if zipped else "w") as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry, io.BytesIO(b"x" * entry.size))
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1].encode())
                tar.addfile(info, io.BytesIO(entry[1].encode()))
    return buffer.getvalue()


def with_build(settings: Settings, **fields: object) -> Settings:
    """The settings with these of the group `build`."""
    build = BuildSettings.model_validate({**settings.build.model_dump(), **fields})
    return settings.model_copy(update={"build": build})


def worker(start: Start, settings: Settings) -> Program:
    """A build worker that takes jobs."""
    program = start("worker", "build", settings=settings)
    program.wait_until_said("taking jobs")
    return program


def order(**fields: object) -> Build:
    """A build of the folder `.` under the build root."""
    return Build.model_validate({"context": ".", "labels": MARK, "lint": "off", **fields})


def built(job: JobHandle, timeout: float = 90) -> BuildResult:
    """The result of a build that succeeds."""
    ended = job.wait(timeout=timeout)
    assert isinstance(ended, BuildResult)
    return ended


def failure(job: JobHandle) -> Failure:
    """Why a build failed; it was tried once."""
    try:
        job.wait(timeout=90)
    except JobFailed:
        record = job.refresh()
    else:
        raise AssertionError("it succeeded")
    assert record.error is not None
    assert record.attempts == 1
    return record.error


def output(job: JobHandle) -> list[str]:
    """The lines that the instructions of a build have written, and what the builder says of them."""
    return [line.text for line in job.logs() if line.stream != "system"]


def run_in(engine: Engine, image: str, script: str) -> str:
    """What a shell script writes in a container of an image."""
    made = engine.api.create_container(
        image, entrypoint=["sh", "-c", script], labels=MARK, network_disabled=True
    )["Id"]
    try:
        engine.api.start(made)
        engine.api.wait(made)
        return str(engine.api.logs(made, stderr=False).decode()).strip()
    finally:
        engine.api.remove_container(made, force=True)
